"""From people in images to joints: cut out on the host, predicted on the device, batch by batch.

Host and device work side by side: a batch is started without waiting for it, and awaited once the
next is started too.
"""

import collections
import concurrent.futures
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from pose3d_jax import geometry, processors
from pose3d_jax.arrays import AnyArray
from pose3d_jax.images.boxes import Patch, Person, cut_patch
from pose3d_jax.images.crop import sample_squares
from pose3d_jax.models.folding import fold, transform_kernels
from pose3d_jax.models.variables import Network, predict
from pose3d_jax.skeleton import NUM_JOINTS

T = TypeVar("T")


class Joints(NamedTuple):
    """What the network says of people.

    Attributes:
        crop: joints in px of the network's input.
        millimetres: joints relative to the root.
        scores: heights of the heat-maps' peaks.
    """

    crop: Float[np.ndarray, "n 16 2"]
    millimetres: Float[np.ndarray, "n 16 3"]
    scores: Float[np.ndarray, "n 16"]


class Batch(NamedTuple):
    """People as the device takes them; those after the first `count` only fill the batch.

    Attributes:
        count: of people.
        pixels: of their patches, RGB.
        squares: centre x, y and side of what the network sees, patch px.
        sizes: the people's bone-length sums, mm.
    """

    count: int
    pixels: UInt8[np.ndarray, "b p p 3"]
    squares: Float[np.ndarray, "b 3"]
    sizes: Float[np.ndarray, "b"]


class Started(NamedTuple):
    """A batch that the device works on, and its outputs, which may not be ready yet."""

    count: int
    outputs: Joints


def predict_patches(
    network: Network,
    side: int,
    params: nnx.State,
    stats: nnx.State,
    patches: UInt8[Array, "b h w 3"],
    squares: Float[Array, "b 3"],
    sizes: Float[Array, "b"],
    *,
    flip: bool = False,
) -> Joints:
    """Crops, runs the network and decodes: what evaluation does, as one pure function.

    Args:
        network: structure of the network.
        side: of its input, px.
        params: parameters.
        stats: running statistics.
        patches: images at about the network's resolution, RGB.
        squares: centre x, y and side of what the network sees, patch px.
        sizes: the people's bone-length sums, mm.
        flip: average with the predictions of the mirror images.
    """
    images = sample_squares(patches, squares, side)
    joints, scores, depth = predict(network, params, stats, images, flip=flip)
    return Joints(joints, geometry.to_millimetres(joints, depth, side, sizes), scores)


class Batches:
    """A network's predictions in batches.

    All patches have one shape, and the number of people is rounded up to a power of two. So a
    program is compiled once for each power of two up to `batch_size`, whatever the sizes of the
    images, and never again.

    Args:
        network: structure, parameters and statistics.
        input_side: of the network's input, px.
        batch_size: people predicted at once, at most.
        flip: average with the predictions of the mirror images.

    Attributes:
        network: structure and parameters; norms are folded (`models.folding`).
        input_side: side of the network's input, px.
        batch_size: people predicted at once, at most.
    """

    def __init__(self, network: Network, input_side: int, batch_size: int, *, flip: bool = False):
        self.network = fold(network)
        self.input_side = input_side
        self.batch_size = batch_size
        on_cpu = jax.default_backend() == "cpu"
        graphdef, *variables = transform_kernels(self.network) if on_cpu else self.network
        # A plain list is quicker to pass than the states of hundreds of variables.
        leaves, tree = jax.tree.flatten(variables)
        self._variables = jax.device_put(leaves)
        # Partial, not bound: parameters are arguments of the program, not constants inside it.
        self._predict = jax.jit(functools.partial(_predict, graphdef, tree, input_side, flip))
        self._apply = jax.jit(functools.partial(_apply, graphdef, tree))
        self._pool = concurrent.futures.ThreadPoolExecutor(processors.usable(), "cut")

    def __call__(
        self, images: Sequence[np.ndarray], people: Sequence[Person], sizes: Float[np.ndarray, "n"]
    ) -> Joints:
        """Predicts people in any number.

        Args:
            images: RGB.
            people: who, and in which of the images.
            sizes: their bone-length sums, mm.
        """
        chunks = (
            slice(first, first + self.batch_size)
            for first in range(0, len(people), self.batch_size)
        )
        batches = (self.pack(self.cut(images, people[part]), sizes[part]) for part in chunks)
        outputs = [finish(started) for started in one_ahead(map(self.start, batches))]
        return Joints(*(np.concatenate(parts) for parts in zip(*outputs or [NOBODY])))

    def model(self, images: Float[AnyArray, "n s s 3"]) -> tuple[list[Array], Array]:
        """The network itself: heat-maps of each stack, and depths."""
        return self._apply(self._variables, jnp.asarray(images))

    def cut(self, images: Sequence[np.ndarray], people: Sequence[Person]) -> list[Patch]:
        """Cuts people out of their images, on several threads."""

        def cut(person: Person) -> Patch:
            return cut_patch(images[person.image], person.square, self.input_side)

        return list((self._pool.map if len(people) > 1 else map)(cut, people))

    def pack(self, patches: Sequence[Patch], sizes: Float[np.ndarray, "n"]) -> Batch:
        """Fills a batch.

        Args:
            patches: of at least one person and at most `batch_size`.
            sizes: the people's bone-length sums, mm.
        """
        filler = min(1 << (len(patches) - 1).bit_length(), self.batch_size) - len(patches)
        padded = [*patches, *patches[-1:] * filler]
        return Batch(
            len(patches),
            np.stack([patch.pixels for patch in padded]),
            np.stack([patch.box for patch in padded]),
            np.pad(sizes, (0, filler), mode="edge"),
        )

    def start(self, batch: Batch) -> Started:
        """Starts the device's work on a batch, and does not wait for it."""
        return Started(batch.count, self._predict(self._variables, *batch[1:]))

    def programs(self) -> int:
        """How many programs have been compiled for batches."""
        return self._predict._cache_size()


NOBODY = Joints(*(np.zeros((0, NUM_JOINTS, *shape), np.float32) for shape in ((2,), (3,), ())))


def finish(started: Started) -> Joints:
    """Waits for the device."""
    return Joints(*(np.asarray(output)[: started.count] for output in started.outputs))


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each once the next has been made: what was started is awaited meanwhile."""
    waiting = collections.deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def _predict(graphdef, tree, side, flip, variables, patches, squares, sizes) -> Joints:
    params, stats = jax.tree.unflatten(tree, variables)
    network = Network(graphdef, params, stats)
    return predict_patches(network, side, params, stats, patches, squares, sizes, flip=flip)


def _apply(graphdef, tree, variables, images: Array):
    model = nnx.merge(graphdef, *jax.tree.unflatten(tree, variables))
    model.eval()
    return model(images)
