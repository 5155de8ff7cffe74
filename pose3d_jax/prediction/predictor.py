"""From a trained network to poses: `Predictor.from_pretrained()(image)`."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from pose3d_jax.arrays import AnyArray
from pose3d_jax.checkpoints import loading
from pose3d_jax.errors import UserError
from pose3d_jax.images import boxes as _boxes
from pose3d_jax.images.crop import out_of_square
from pose3d_jax.models import precision
from pose3d_jax.models.variables import Variables
from pose3d_jax.prediction import finding
from pose3d_jax.prediction.batches import Batches, Joints

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pose:
    """The poses of N people, in the order of their images and boxes.

    Joints are MPII's sixteen, named in `skeleton.JOINT_NAMES`; "left" is the person's own.

    *Root-relative mm* means: the pelvis (joint 6) is the origin, and the axes are the camera's, x
    right, y down and z forward, away from the camera. One image does not tell whether somebody is
    small or near, so each pose is scaled until its 14 bones (`skeleton.BONES`) sum to the average
    skeleton's length, or to the `bone_length_sum` given to the call. Under weak perspective, x and
    y are those of `joints_2d`, scaled.

    Attributes:
        joints_2d: px of the source image, continuous: pixel i covers [i, i + 1).
        joints_3d: mm, root-relative.
        scores: height of each heat-map's peak; about 1 where the network is sure, near 0 where it
            sees no such joint. Not a probability.
        squares: centre x, y and side of what the network saw, px of the source image.
        image: index of each person's image.
    """

    joints_2d: Float[np.ndarray, "n 16 2"]
    joints_3d: Float[np.ndarray, "n 16 3"]
    scores: Float[np.ndarray, "n 16"]
    squares: Float[np.ndarray, "n 3"]
    image: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.joints_2d)

    def of_image(self, index: int) -> "Pose":
        """The people of one image, whose own index becomes 0."""
        chosen = self.image == index
        fields = {f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self)}
        return Pose(**(fields | {"image": np.zeros_like(fields["image"])}))


class Predictor:
    """Predicts poses from images; make one with `from_pretrained` or `from_checkpoint`.

    A program is compiled once for each power of two up to `batch_size`, whatever the sizes of the
    images; while the device computes one batch, the host cuts out the next (`batches`).

    Args:
        graphdef: structure of the network.
        variables: parameters and statistics.
        input_side: of the network's input, px.
        bone_length_sum: of the average skeleton, mm (`AvgSumLen` of the data it was trained on).
        batch_size: people predicted at once, at most.
        flip: average with the predictions of the mirror images: twice the work, fewer errors.

    Attributes:
        input_side: side of the network's input, px.
        bone_length_sum: of the average skeleton, mm.
        batches: the network's predictions in batches.

    >>> predictor = Predictor.from_pretrained()
    >>> photo = np.zeros((240, 320, 3), np.uint8)
    >>> pose = predictor(photo, [(100, 20, 120, 200), (10, 10, 50, 90)])  # Two people.
    >>> pose.joints_2d.shape, pose.joints_3d.shape, pose.scores.shape
    ((2, 16, 2), (2, 16, 3), (2, 16))
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
    ):
        if batch_size < 1:
            raise UserError(f"The batch size must be at least 1, but is {batch_size}.")
        self.input_side = input_side
        self.bone_length_sum = bone_length_sum
        self.batches = Batches(graphdef, variables, input_side, batch_size, flip=flip)

    @classmethod
    def from_pretrained(
        cls,
        name: str = loading.DEFAULT,
        *,
        batch_size: int = 32,
        flip: bool = False,
        compute: str | None = "auto",
    ) -> "Predictor":
        """Loads a network of this package; nothing is downloaded.

        Args:
            name: of the network; `pose3d_jax/weights/README.md` tells of each what it can do.
            batch_size: people predicted at once, at most; less needs less memory.
            flip: average with the predictions of the mirror images: twice the work, fewer errors.
            compute: type of the arithmetic: "float32", "bfloat16", "auto" for bfloat16 on CPUs that
                multiply it fast and float32 elsewhere, or None for that of training.

        Raises:
            UserError: there is no network of that name, or its file is damaged.
        """
        found = loading.load(loading.bundled_file(name), compute=compute)
        return cls._from_trained(found, name, batch_size=batch_size, flip=flip)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        batch_size: int = 32,
        flip: bool = False,
        compute: str | None = "auto",
    ) -> "Predictor":
        """Loads the newest checkpoint of a stage, or whatever else a checkpoint argument names.

        Args:
            path: a stage's directory (`runs/tiny/3D+2D-w-geo/stage3`), a converted one, a
                `.safetensors` file, or the name of a network of this package.
            batch_size: people predicted at once, at most; less needs less memory.
            flip: average with the predictions of the mirror images: twice the work, fewer errors.
            compute: type of the arithmetic: "float32", "bfloat16", "auto" for bfloat16 on CPUs that
                multiply it fast and float32 elsewhere, or None for that of training.

        Raises:
            UserError: there is no complete checkpoint.
        """
        found = loading.load(path, compute=compute)
        return cls._from_trained(found, path, batch_size=batch_size, flip=flip)

    @classmethod
    def _from_trained(
        cls, found: loading.TrainedNetwork, name: str | os.PathLike, *, batch_size: int, flip: bool
    ) -> "Predictor":
        log.info("computing in %s", precision.resolve(found.config.precision.compute))
        if not found.with_depth:
            log.warning(
                "%s is of a stage that trains no depth: 2D joints are predicted, but depths, and "
                "so the 3D joints, mean nothing",
                name,
            )
        return cls(
            found.graphdef,
            found.variables,
            input_side=found.config.model.input_side,
            bone_length_sum=found.config.data.bone_length_sum,
            batch_size=batch_size,
            flip=flip,
        )

    def model(
        self, images: Float[AnyArray, "n s s 3"]
    ) -> tuple[list[Float[Array, "n s/4 s/4 16"]], Float[Array, "n 16"]]:
        """The network itself, in eval mode.

        Args:
            images: RGB in [0, 1], of side `input_side`.

        Returns:
            The heat-maps of each stack, the last the best; and depths relative to the root, away
            from the camera, in half sides of the input (`geometry`).
        """
        return self.batches.model(images)

    def __call__(
        self,
        images: Any,
        boxes: Any = None,
        *,
        margin: float = 1.0,
        bone_length_sum: Any = None,
    ) -> Pose:
        """Predicts the poses of everybody in one or several images.

        Args:
            images: uint8 RGB, any size: an array (height, width, 3), a list of such, or an array
                (n, height, width, 3).
            boxes: where people are, as (x, y, width, height) in px: one box or an array of several
                for one image; a list with one such entry per image for several, in which None
                stands for the largest centred square, and "auto" for a search (`find`). A box may
                reach beyond its image.
            margin: factor on the boxes. The network expects the whole person with about a tenth
                to spare on every side: 1 for such boxes, 1.25 for those that fit tightly.
            bone_length_sum: the people's own bone-length sums in mm where they are known, a number
                for all or one each; None for the average skeleton's.

        Returns:
            The poses of all boxes of all images; none for an empty list of boxes.

        Raises:
            InputError: an image is not uint8 RGB, or a box is of no use (a `ValueError` as well).
        """
        images, people = self.people(images, boxes, margin)
        sizes = self.sizes(bone_length_sum, len(people))
        return self.to_pose(people, self.batches(images, people, sizes))

    def people(
        self, images: Any, boxes: Any = None, margin: float = 1.0
    ) -> tuple[list[UInt8[np.ndarray, "_ _ 3"]], list[_boxes.Person]]:
        """Images as a list, and who is to be predicted in them; takes what a call takes.

        Raises:
            InputError: an image is not uint8 RGB, or a box is of no use.
        """
        images, alone = _boxes.as_images(images)
        boxes = finding.resolve(boxes, images, lambda image: self.find(image)[0], alone=alone)
        return images, _boxes.as_people(images, boxes, margin, alone=alone)

    def to_pose(self, people: Sequence[_boxes.Person], joints: Joints) -> Pose:
        """The poses of people whose joints the network has told."""
        squares = np.array([person.square for person in people]).reshape(-1, 3)
        return Pose(
            joints_2d=out_of_square(joints.crop, squares, self.input_side),
            joints_3d=joints.millimetres,
            scores=joints.scores,
            squares=squares.astype(np.float32),
            image=np.array([person.image for person in people], np.int32),
        )

    def find(
        self, image: UInt8[np.ndarray, "h w 3"], threshold: float | None = None
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Finds the people in an image; `boxes="auto"` predicts the poses of those.

        Args:
            image: RGB.
            threshold: on how sure a find is (`finding.sureness`); by default
                `finding.THRESHOLD`.

        Returns:
            Centre x, y and side of a square around each, px, the surest first; and how sure each
            is.
        """

        def look(image, squares):
            # Whole batches, so that one program does for all searches.
            filler = -len(squares) % self.batches.size
            people = [_boxes.Person(0, s) for s in np.pad(squares, ((0, filler), (0, 0)), "edge")]
            joints = self.batches([image], people, self.sizes(None, len(people)))
            count = len(squares)
            return out_of_square(joints.crop[:count], squares, self.input_side), joints.scores[
                :count
            ]

        threshold = finding.THRESHOLD if threshold is None else threshold
        return finding.find_people(image, self.input_side, look, threshold)

    def sizes(self, bone_length_sum: Any, count: int) -> Float[np.ndarray, "n"]:
        """The bone-length sums of so many people, mm: those given, or the average skeleton's.

        Args:
            bone_length_sum: one number for all, as many numbers as people, or None.
            count: of people.

        Raises:
            InputError: they are no positive numbers, or not as many as people.
        """
        if bone_length_sum is None:
            bone_length_sum = self.bone_length_sum
        try:
            sizes = np.asarray(bone_length_sum, np.float32)
        except (TypeError, ValueError):
            sizes = np.array(np.nan)  # Ragged, or no numbers.
        if sizes.shape not in ((), (count,)) or not (np.isfinite(sizes) & (sizes > 0)).all():
            raise _boxes.InputError(
                "bone_length_sum must be a positive number of mm, one for all or one for each of "
                f"{count} people; it is {bone_length_sum}."
            )
        return np.broadcast_to(sizes, count)

    @property
    def graphdef(self) -> nnx.GraphDef:
        """Structure of the network; batch normalisation is folded (`models.folding`)."""
        return self.batches.graphdef

    @property
    def variables(self) -> Variables:
        """Parameters of the network, folded."""
        return self.batches.variables

    @property
    def batch_size(self) -> int:
        """People predicted at once, at most."""
        return self.batches.batch_size
