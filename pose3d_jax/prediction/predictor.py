"""From a trained network to poses: `Predictor.from_pretrained()(image)`."""

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray
from pose3d_jax.checkpoints import loading
from pose3d_jax.errors import UserError
from pose3d_jax.images.boxes import InputError, to_squares
from pose3d_jax.images.crop import out_of_square
from pose3d_jax.models import precision
from pose3d_jax.models.variables import Variables
from pose3d_jax.prediction import detection
from pose3d_jax.prediction.arguments import (
    Boxes,
    ImageBoxes,
    Images,
    Lengths,
    bone_length_sums,
    is_auto,
    per_image,
)
from pose3d_jax.prediction.batching import BatchedNetwork
from pose3d_jax.prediction.calibration import Calibration
from pose3d_jax.prediction.pose import Pose

log = logging.getLogger(__name__)


class Predictor:
    """Predicts poses from images; made by `from_pretrained` or `from_checkpoint`.

    A program is compiled once for each power of two up to `batch_size`, whatever the sizes of the
    images; the host crops one batch while the device computes another (`batching`).

    Args:
        graphdef: structure of the network.
        variables: parameters and statistics.
        input_side: of the network's input, px.
        bone_length_sum: of the average skeleton, mm (`AvgSumLen` of the training data).
        batch_size: people predicted at once, at most.
        flip: average with the predictions of the mirror images: twice the work, fewer errors.
        scales: average over crops this many times as large as the person's square.
        calibration: from peak heights to probabilities; None for the peak heights themselves.

    Attributes:
        network: predicts in batches. The arguments, except `calibration`, are attributes as well;
            in `graphdef` and `variables`, batch normalisation is folded (`models.folding`).

    >>> predictor = Predictor.from_pretrained()
    >>> photo = np.zeros((240, 320, 3), np.uint8)
    >>> pose = predictor(photo, [(100, 20, 120, 200), (10, 10, 50, 90)])  # Two people.
    >>> pose.joints_2d.shape, pose.joints_3d.shape, pose.confidence.shape
    ((2, 16, 2), (2, 16, 3), (2, 16))
    >>> [len(person) for person in pose]
    [1, 1]
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        variables: Variables,
        *,
        input_side: int,
        bone_length_sum: float,
        batch_size: int = 32,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        calibration: Calibration | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"The batch size must be at least 1, but is {batch_size}.")
        if not scales or not all(0.25 <= scale <= 4 for scale in scales):
            raise UserError(f"Scales must be numbers from 0.25 to 4, but are {list(scales)}.")
        self.input_side = input_side
        self.bone_length_sum = bone_length_sum
        self.flip, self.scales = flip, tuple(map(float, scales))
        self.network = BatchedNetwork(graphdef, variables, input_side, batch_size)
        self.graphdef, self.variables = self.network.graphdef, self.network.variables
        self.batch_size = batch_size
        self._calibration = calibration

    @classmethod
    def from_pretrained(cls, name: str = loading.DEFAULT, **options: Any) -> "Predictor":
        """Loads a bundled network; nothing is downloaded.

        Args:
            name: of the network; `pose3d_jax/weights/README.md` has a model card of each.
            **options: those of `from_checkpoint`.

        Raises:
            UserError: there is no network of that name, or its file is damaged.
        """
        return cls.from_checkpoint(loading.bundled_file(name), **options)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        batch_size: int = 32,
        flip: bool | None = None,
        scales: Sequence[float] | None = None,
        compute: str | None = "auto",
    ) -> "Predictor":
        """Loads the newest checkpoint of a stage, or any other checkpoint argument.

        Args:
            path: a stage's directory (`runs/tiny/3D+2D-w-geo/stage3`), a converted one, a
                `.safetensors` file, or the name of a bundled network.
            batch_size: people predicted at once, at most; a smaller one needs less memory.
            flip: average with the predictions of the mirror images: twice the work, fewer errors.
                None for the network's default (`loading.passes`); `open` averages.
            scales: average over crops this many times as large as the person's square. None for
                the network's default; `flip=False, scales=(1,)` is the fastest.
            compute: type of the arithmetic: "float32", "bfloat16", "auto" for bfloat16 on CPUs that
                multiply it fast and float32 elsewhere, or None for that of training.

        Raises:
            UserError: there is no complete checkpoint.
        """
        found = loading.load(path, compute=compute)
        if not found.with_depth:
            log.warning(
                "%s is of a stage that does not train depth: 2D joints are predicted, but depths "
                "and 3D joints are meaningless.",
                path,
            )
        log.info("computing in %s", precision.resolve(found.config.precision.compute))
        flip, scales = loading.passes(found.config, flip, scales)
        return cls(
            found.graphdef,
            found.variables,
            input_side=found.config.model.input_side,
            bone_length_sum=found.config.data.bone_length_sum,
            batch_size=batch_size,
            flip=flip,
            scales=scales,
            calibration=Calibration.of_config(found.config),
        )

    def model(
        self, images: Float[AnyArray, "n s s 3"]
    ) -> tuple[list[Float[Array, "n s/4 s/4 16"]], Float[Array, "n 16"]]:
        """The network itself, in evaluation mode.

        Args:
            images: RGB in [0, 1], of side `input_side`.

        Returns:
            The heat-maps of each stack, the last the best; and depths relative to the root, away
            from the camera, in half sides of the input (`geometry`).
        """
        return self.network.model(images)

    def __call__(
        self,
        images: Images,
        boxes: Boxes = None,
        *,
        margin: float = 1.0,
        bone_length_sum: Lengths = None,
        threshold: float | None = None,
        max_people: int | None = None,
        intrinsics: Sequence[float] | None = None,
    ) -> Pose:
        """Predicts the poses of everyone in one or several images.

        Args:
            images: one image (uint8 RGB of any size, or the path of a file), several as a list, or
                an array (n, height, width, 3).
            boxes: where people are, as (x, y, width, height) in px: one box or several for one
                image; "auto" detects people (`detect`); None is the largest centred square. For
                several images: a list with one of these per image, or one word for all. A box may
                reach beyond its image.
            margin: factor on given boxes. The network expects the whole person and about a tenth
                more on every side: 1 for such boxes, 1.25 for tight ones. Detected boxes have this
                margin already; the factor does not apply to them.
            bone_length_sum: the people's own bone-length sums in mm where they are known, a number
                for all or one each; None for the average skeleton's.
            threshold: of detection, see `detect`.
            max_people: of detection, see `detect`.
            intrinsics: focal lengths and principal point (fx, fy, cx, cy) of the camera, px, for
                `Pose.joints_camera` (`geometry.to_camera`).

        Returns:
            The poses of all boxes of all images; of length 0 for an empty list of boxes.

        Raises:
            InputError: an image is not uint8 RGB, or a box is invalid (a `ValueError` as well).
            UserError: a file cannot be read.
        """
        images, own_boxes, names = per_image(images, boxes)
        squares = [
            self.squares(image, own, margin, threshold, max_people, name)
            for image, own, name in zip(images, own_boxes, names)
        ]
        return self.predict_squares(images, squares, bone_length_sum, intrinsics)

    def detect(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        *,
        threshold: float | None = None,
        max_people: int | None = None,
    ) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n"]]:
        """Detects the people in an image; `boxes="auto"` predicts their poses.

        A network without a detector uses that of the default bundled network.

        Args:
            image: RGB.
            threshold: on the confidence; by default `detection.THRESHOLD`.
            max_people: keeps the most confident people; None keeps all.

        Returns:
            Boxes as a call takes them, from the highest confidence; and the confidences.
        """
        squares, confidences = self._detect(image, threshold, max_people)
        return detection.as_boxes(squares), confidences

    def squares(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        boxes: ImageBoxes = None,
        margin: float = 1.0,
        threshold: float | None = None,
        max_people: int | None = None,
        name: str = "The image",
    ) -> Float[np.ndarray, "n 3"]:
        """The network's squares for people of one image: centre x, y and side, px.

        The arguments are those of a call; `name` is the image's in messages.

        Raises:
            InputError: a box is invalid.
        """
        if is_auto(boxes):
            return self._detect(image, threshold, max_people)[0]
        return to_squares(boxes, image, margin, name)

    def predict_squares(
        self,
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        squares: Sequence[Float[np.ndarray, "_ 3"]],
        bone_length_sum: Lengths = None,
        intrinsics: Sequence[float] | None = None,
    ) -> Pose:
        """Predicts the poses of people whose squares are known.

        Args:
            images: RGB.
            squares: of each image's people: centre x, y and side, px.
            bone_length_sum: see `__call__`.
            intrinsics: see `__call__`.

        Raises:
            InputError: the intrinsics are invalid.
        """
        index = np.repeat(np.arange(len(images), dtype=np.int32), [len(own) for own in squares])
        everyone = np.concatenate([np.zeros((0, 3)), *squares])
        sizes = bone_length_sums(
            self.bone_length_sum if bone_length_sum is None else bone_length_sum, len(everyone)
        )
        joints = self.network(images, index, everyone, sizes, flip=self.flip, scales=self.scales)
        joints_2d = out_of_square(joints.crop, everyone, self.input_side)
        confidence = self._calibrated(joints.confidence)
        camera = None
        if intrinsics is not None:
            values = np.asarray(intrinsics, np.float32)
            if values.shape != (4,) or not np.isfinite(values).all() or (values[:2] <= 0).any():
                raise InputError(f"intrinsics must be fx, fy, cx, cy in px, but are {intrinsics}.")
            weight = np.maximum(confidence, 1e-3)
            camera = np.asarray(geometry.to_camera(joints_2d, joints.millimetres, values, weight))
        return Pose(
            joints_2d=joints_2d,
            joints_3d=joints.millimetres,
            confidence=confidence,
            joints_camera=camera,
            squares=everyone.astype(np.float32),
            image=index,
        )

    def _detect(
        self, image: np.ndarray, threshold: float | None, max_people: int | None
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        network = self.network if self.network.has_detector else _bundled_detector()
        averages = self.flip or self.scales != (1.0,)
        return detection.detect(
            image,
            network.detect,
            self._joints_of,
            functools.partial(self._joints_of, average=True) if averages else None,
            threshold=threshold,
            max_people=max_people,
        )

    def _joints_of(self, image, squares, average: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The network as `detection.Predict`."""
        count = len(squares)
        if not average:  # Whole batches: one program is compiled for any number of proposals.
            squares = np.pad(squares, ((0, -count % self.network.size), (0, 0)), "edge")
        index = np.zeros(len(squares), np.int32)
        sizes = bone_length_sums(self.bone_length_sum, len(squares))
        flip, scales = (self.flip, self.scales) if average else (False, (1.0,))
        joints = self.network([image], index, squares, sizes, flip=flip, scales=scales)
        joints_2d = out_of_square(joints.crop, squares, self.input_side)
        return joints_2d[:count], self._calibrated(joints.confidence[:count])

    def _calibrated(self, peaks: Float[np.ndarray, "n 16"]) -> Float[np.ndarray, "n 16"]:
        return peaks if self._calibration is None else self._calibration(peaks)


@functools.cache
def _bundled_detector() -> BatchedNetwork:
    bundled = loading.load(loading.DEFAULT)
    return BatchedNetwork(
        bundled.graphdef, bundled.variables, bundled.config.model.input_side, batch_size=1
    )
