"""From people in images to joints: cut out on the host, predicted on the device, batch by batch.

Host and device work side by side: a batch is started without waiting for it, and awaited once
others are started too. A CPU works on several small batches at a time, as one program does not keep
all cores busy, and small batches stay in their caches (benchmarks/README.md).
"""

import collections
import concurrent.futures
import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from pose3d_jax import geometry, processors
from pose3d_jax.arrays import AnyArray
from pose3d_jax.images.boxes import Patch, Person, cut_patch
from pose3d_jax.models import inference, precision
from pose3d_jax.models.folding import fold
from pose3d_jax.models.variables import Variables
from pose3d_jax.skeleton import NUM_JOINTS

#: People of one program on a CPU.
CPU_BATCH = 4

T = TypeVar("T")


class Joints(NamedTuple):
    """Predictions of people.

    Attributes:
        crop: joints in px of the network's input.
        millimetres: joints relative to the root.
        scores: heights of the heat-maps' peaks.
        depth: in half sides of the network's input.
    """

    crop: Float[np.ndarray, "n 16 2"]
    millimetres: Float[np.ndarray, "n 16 3"]
    scores: Float[np.ndarray, "n 16"]
    depth: Float[np.ndarray, "n 16"]


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


class Batches:
    """A network's predictions in batches.

    All patches have one shape, and the number of people is rounded up to a power of two. So a
    program is compiled once for each power of two up to `size`, whatever the sizes of the images,
    and never again.

    Args:
        graphdef: structure of the network.
        variables: parameters and statistics.
        input_side: of the network's input, px.
        batch_size: people predicted at once, at most.
        flip: average with the predictions of the mirror images.

    Attributes:
        graphdef: structure of the network; norms are folded (`models.folding`).
        variables: parameters.
        input_side: side of the network's input, px.
        batch_size: people predicted at once, at most.
        size: of a full batch.
        lanes: batches that the device works on at a time.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        variables: Variables,
        input_side: int,
        batch_size: int,
        *,
        flip: bool = False,
    ):
        self.graphdef, self.variables = fold(graphdef, variables)
        self.input_side = input_side
        self.batch_size = batch_size
        on_cpu = jax.default_backend() == "cpu"
        self.size = min(batch_size, CPU_BATCH) if on_cpu else batch_size
        # Other devices work on one after the other; the second is there when the first ends.
        self.lanes = max(min(processors.usable(), batch_size // self.size), 1) if on_cpu else 2
        self._shared = on_cpu  # Whether the lanes share the people of a call.
        # A plain list is quicker to pass than the states of hundreds of variables.
        leaves, tree = jax.tree.flatten(self.variables)
        self._variables = jax.device_put(leaves)
        self._predict, self._apply = _programs(
            self.graphdef, tree, nnx.merge(self.graphdef, *self.variables).dtype, input_side, flip
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(processors.usable(), "cut")
        self._device = concurrent.futures.ThreadPoolExecutor(self.lanes, "predict")
        self._compiled: set[int] = set()
        self._compiling = threading.Lock()

    def __call__(
        self, images: Sequence[np.ndarray], people: Sequence[Person], sizes: Float[np.ndarray, "n"]
    ) -> Joints:
        """Predicts people in any number.

        Args:
            images: RGB.
            people: who, and in which of the images.
            sizes: their bone-length sums, mm.
        """
        size = self.size_for(len(people))
        chunks = (slice(first, first + size) for first in range(0, len(people), size))
        batches = (self.pack(self.cut(images, people[part]), sizes[part]) for part in chunks)
        outputs = [started.result() for started in self.ahead(map(self.start, batches))]
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
            patches: of at least one person and at most `size`.
            sizes: the people's bone-length sums, mm.
        """
        filler = min(power_of_two(len(patches)), self.size) - len(patches)
        padded = [*patches, *patches[-1:] * filler]
        return Batch(
            len(patches),
            np.stack([patch.pixels for patch in padded]),
            np.stack([patch.box for patch in padded]),
            np.pad(sizes, (0, filler), mode="edge"),
        )

    def start(self, batch: Batch) -> concurrent.futures.Future[Joints]:
        """Starts the device's work on a batch, and does not wait for it."""
        return self._device.submit(self._run, batch)

    def ahead(self, started: Iterable[T]) -> Iterator[T]:
        """The same items, each once enough others were started to keep the device busy."""
        waiting = collections.deque()
        for item in started:
            waiting.append(item)
            if len(waiting) > self.lanes:
                yield waiting.popleft()
        yield from waiting

    def size_for(self, count: int) -> int:
        """The size of batches in which so many people are predicted the soonest."""
        if not self._shared:
            return self.size
        return min(self.size, power_of_two(math.ceil(count / self.lanes)))

    def _run(self, batch: Batch) -> Joints:
        size = len(batch.pixels)
        # The first of a size comes alone, or several lanes would compile the same program.
        with contextlib.nullcontext() if size in self._compiled else self._compiling:
            outputs = self._predict(self._variables, *batch[1:])
            self._compiled.add(size)
        return Joints(*(np.asarray(output)[: batch.count] for output in outputs))

    def programs(self) -> int:
        """How many programs have been compiled for batches."""
        return self._predict._cache_size()


NOBODY = Joints(*(np.zeros((0, NUM_JOINTS, *shape), np.float32) for shape in ((2,), (3,), (), ())))


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`; 1 for none."""
    return 1 << max(count - 1, 0).bit_length()


@functools.lru_cache(maxsize=8)
def _programs(
    graphdef: nnx.GraphDef, tree, dtype, side: int, flip: bool
) -> tuple[Callable, Callable]:
    """Prediction and the network itself, compiled once for all networks of one structure."""

    def predict(variables, patches, squares, sizes) -> Joints:
        joints, confidence, depth = inference.predict(
            graphdef, jax.tree.unflatten(tree, variables), patches, squares, flip=flip
        )
        millimetres = geometry.to_millimetres(joints, depth, side, sizes)
        return Joints(joints, millimetres, confidence, depth)

    def apply(variables, images: Array):
        model = nnx.merge(graphdef, *jax.tree.unflatten(tree, variables))
        model.eval()
        return model(images)

    jit = functools.partial(jax.jit, compiler_options=precision.compiler_options(dtype))
    return jit(predict), jit(apply)
