"""Poses of an archive of images with Apache Beam's RunInference (extra `beam`).

    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from pose3d_jax.beam import pose_handler

    with beam.Pipeline(options=options) as pipeline:
        poses, failed = (
            pipeline
            | beam.Create(paths)
            | RunInference(pose_handler("open")).with_exception_handling()
        )
        # poses: pairs (path, Pose)
        # failed.failed_preprocessing[0]: the files that cannot be decoded

Inputs are paths of any file system that Beam knows, or pairs of a name and the file's bytes. Beam
forms the batches; each worker process loads the network once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pose3d_jax import Pose, Predictor
from pose3d_jax.images.files import decode_file

try:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.ml.inference.base import ModelHandler
except ImportError as error:
    raise ImportError("This needs Apache Beam: pip install 'pose3d_jax[beam]'") from error


class NamedImage(NamedTuple):
    """A decoded image and its path or name."""

    name: str
    pixels: UInt8[np.ndarray, "h w 3"]


class PoseHandler(ModelHandler[NamedImage, tuple[str, Pose], Predictor]):
    """RunInference's model handler for decoded images; see `pose_handler`."""

    def __init__(self, checkpoint: str, boxes: Any, batch_size: int, predictor_options: dict):
        super().__init__()
        self.checkpoint = checkpoint
        self.boxes = boxes
        self.batch_size = batch_size
        self.predictor_options = predictor_options

    def load_model(self) -> Predictor:
        """Loads the network: once per worker process."""
        return Predictor.from_checkpoint(self.checkpoint, **self.predictor_options)

    def run_inference(
        self, batch: Sequence[NamedImage], model: Predictor, inference_args: Any = None
    ) -> Iterable[tuple[str, Pose]]:
        """The poses of each image of a batch, with its name."""
        del inference_args
        pose = model([image.pixels for image in batch], [self.boxes] * len(batch))
        return [(image.name, pose.of_image(i)) for i, image in enumerate(batch)]

    def batch_elements_kwargs(self) -> dict[str, int]:
        """The sizes of Beam's batches of images."""
        return {"min_batch_size": 1, "max_batch_size": self.batch_size}

    def get_num_bytes(self, batch: Sequence[NamedImage]) -> int:
        """Bytes of a batch, for Beam's metrics."""
        return sum(image.pixels.nbytes for image in batch)


def pose_handler(
    checkpoint: str = "open", *, boxes: Any = "auto", batch_size: int = 8, **predictor_options: Any
) -> ModelHandler:
    """A model handler from image files to poses.

    Args:
        checkpoint: name, stage directory or file of a network, readable by every worker.
        boxes: of every image: "auto" detects people, None takes the largest centred square, and
            boxes (x, y, width, height), px, are those of each image.
        batch_size: largest number of images in one batch.
        predictor_options: of `Predictor.from_checkpoint`, such as `flip=True`.

    Returns:
        A handler whose inputs are paths or pairs (name, bytes of the file), and whose outputs are
        pairs (path or name, `Pose`). A file that cannot be decoded fails in preprocessing: with
        `RunInference(…).with_exception_handling()` it goes to `failed_preprocessing`.
    """
    return PoseHandler(checkpoint, boxes, batch_size, predictor_options).with_preprocess_fn(read)


def read(file: str | tuple[str, bytes]) -> NamedImage:
    """Decodes an image file.

    Args:
        file: a path of any file system that Beam knows, or a name and the file's bytes.

    Raises:
        UserError: it is no image, or it is damaged.
    """
    if isinstance(file, str):
        with FileSystems.open(file, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            file = file, stream.read()
    name, content = file
    return NamedImage(name, decode_file(content, name))
