"""From a checkpoint to poses: `Predictor.from_checkpoint(path)(image)`."""

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray
from pose3d_jax.errors import UserError
from pose3d_jax.images import boxes as _boxes
from pose3d_jax.images.crop import crop_to_image, out_of_square, sample
from pose3d_jax.models.variables import Network, abstract_network, predict
from pose3d_jax.skeleton import NUM_JOINTS
from pose3d_jax.stages import get_stage
from pose3d_jax.training.checkpoints import read_config, restore_network

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


def predict_patches(
    network: Network,
    side: int,
    params: nnx.State,
    stats: nnx.State,
    patches: UInt8[Array, "b h w 3"],
    squares: Float[Array, "b 3"],
    sizes: Float[Array, "b"],
) -> tuple[Float[Array, "b 16 2"], Float[Array, "b 16 3"], Float[Array, "b 16"]]:
    """Crops, runs the network and decodes: what evaluation does, as one pure function.

    Args:
        network: structure of the network.
        side: of its input, px.
        params: parameters.
        stats: running statistics.
        patches: images at about the network's resolution, RGB.
        squares: centre x, y and side of what the network sees, patch px.
        sizes: the people's bone-length sums, mm.

    Returns:
        Joints in crop px, root-relative joints in mm, and scores.
    """
    images = sample(patches, crop_to_image(squares, side), side)
    joints, scores, depth = predict(network, params, stats, images)
    return joints, geometry.to_millimetres(joints, depth, side, sizes), scores


class Predictor:
    """Predicts poses from images; make one with `from_checkpoint`.

    People are cut out of their images on the host, and all patches have one shape; their number is
    rounded up to a power of two. So a program is compiled once for each power of two up to
    `batch_size`, whatever the sizes of the images, and never again.

    Args:
        network: structure, parameters and statistics.
        input_side: of the network's input, px.
        bone_length_sum: of the average skeleton, mm (`AvgSumLen` of the data it was trained on).
        batch_size: people predicted at once, at most.

    Attributes:
        input_side: side of the network's input, px.
        bone_length_sum: of the average skeleton, mm.
        batch_size: people predicted at once, at most.
        network: structure, parameters and statistics.

    >>> from pose3d_jax.models import PoseNetwork
    >>> sizes = {"stacks": 1, "modules": 1, "levels": 2, "depth_levels": 2, "features": 8}
    >>> model = PoseNetwork(input_side=32, **sizes, rngs=nnx.Rngs(0))  # Not trained.
    >>> network = Network(*nnx.split(model, nnx.Param, nnx.BatchStat))
    >>> predictor = Predictor(network, input_side=32, bone_length_sum=4297.0)
    >>> photo = np.zeros((240, 320, 3), np.uint8)
    >>> pose = predictor(photo, [(100, 20, 120, 200), (10, 10, 50, 90)])  # Two people.
    >>> pose.joints_2d.shape, pose.joints_3d.shape, pose.scores.shape
    ((2, 16, 2), (2, 16, 3), (2, 16))
    """

    def __init__(
        self, network: Network, *, input_side: int, bone_length_sum: float, batch_size: int = 32
    ):
        if batch_size < 1:
            raise UserError(f"The batch size must be at least 1, but is {batch_size}.")
        self.input_side = input_side
        self.bone_length_sum = bone_length_sum
        self.batch_size = batch_size
        self.network = network._replace(
            params=jax.device_put(network.params), stats=jax.device_put(network.stats)
        )
        # Partial, not bound: parameters are arguments of the program, not constants inside it.
        self._predict = jax.jit(functools.partial(predict_patches, network, input_side))
        self._apply = jax.jit(functools.partial(_apply, network.graphdef))

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, *, batch_size: int = 32, compute: str | None = None
    ) -> "Predictor":
        """Loads the newest checkpoint of a stage.

        Args:
            path: a stage's directory (`runs/tiny/3D+2D-w-geo/stage3`) or a converted one.
            batch_size: people predicted at once, at most; less needs less memory.
            compute: type of the arithmetic, "float32" or "bfloat16"; by default that of training.

        Raises:
            UserError: there is no whole checkpoint.
        """
        config = read_config(path)
        if compute:
            config.precision.compute = compute
        network = abstract_network(config)
        params, stats = restore_network(path, network.params, network.stats)
        if not get_stage(config, len(config.stages)).with_depth:
            log.warning(
                "%s is of a stage that trains no depth: 2D joints are predicted, but depths, and "
                "so the 3D joints, mean nothing",
                path,
            )
        return cls(
            network._replace(params=params, stats=stats),
            input_side=config.model.input_side,
            bone_length_sum=config.data.bone_length_sum,
            batch_size=batch_size,
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
        return self._apply(self.network.params, self.network.stats, jnp.asarray(images))

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
                stands for the largest centred square. A box may reach beyond its image.
            margin: factor on the boxes. The network expects the whole person with about a tenth
                to spare on every side: 1 for such boxes, 1.25 for those that fit tightly.
            bone_length_sum: the people's own bone-length sums in mm where they are known, a number
                for all or one each; None for the average skeleton's.

        Returns:
            The poses of all boxes of all images; none for an empty list of boxes.

        Raises:
            InputError: an image is not uint8 RGB, or a box is of no use (a `ValueError` as well).
        """
        images, alone = _boxes.as_images(images)
        people = _boxes.as_people(images, boxes, margin, alone=alone)
        sizes = self._sizes(bone_length_sum, len(people))
        outputs = [
            self._predict_some(images, people[chunk], sizes[chunk])
            for chunk in _chunks(len(people), self.batch_size)
        ] or [_nobody()]
        joints, millimetres, scores = (np.concatenate(parts) for parts in zip(*outputs))
        squares = np.array([person.square for person in people]).reshape(-1, 3)
        return Pose(
            joints_2d=out_of_square(joints, squares, self.input_side),
            joints_3d=millimetres,
            scores=scores,
            squares=squares.astype(np.float32),
            image=np.array([person.image for person in people], np.int32),
        )

    def _predict_some(self, images, people, sizes) -> tuple[np.ndarray, ...]:
        patches = [
            _boxes.cut_patch(images[person.image], person.square, self.input_side)
            for person in people
        ]
        filler = _bucket(len(people), self.batch_size) - len(people)
        patches += patches[-1:] * filler
        outputs = self._predict(
            self.network.params,
            self.network.stats,
            np.stack([patch.pixels for patch in patches]),
            np.stack([patch.box for patch in patches]),
            np.pad(sizes, (0, filler), mode="edge"),
        )
        return tuple(np.asarray(output)[: len(people)] for output in outputs)

    def _sizes(self, bone_length_sum: Any, count: int) -> Float[np.ndarray, "n"]:
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


def _apply(graphdef: nnx.GraphDef, params: nnx.State, stats: nnx.State, images: Array):
    model = nnx.merge(graphdef, params, stats)
    model.eval()
    return model(images)


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _bucket(count: int, batch_size: int) -> int:
    """The smallest power of two that holds `count`, but at most `batch_size`."""
    return min(1 << (count - 1).bit_length(), batch_size)


def _nobody() -> tuple[np.ndarray, ...]:
    shapes = ((0, NUM_JOINTS, 2), (0, NUM_JOINTS, 3), (0, NUM_JOINTS))
    return tuple(np.zeros(shape, np.float32) for shape in shapes)
