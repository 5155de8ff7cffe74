"""From squares in images to joints: cropped on the host, predicted on the device, in batches.

Host and device work side by side: batches are queued without waiting for results. A CPU works on
several small batches at a time, since one program does not keep all cores busy and small batches
stay in the caches (benchmarks/README.md).
"""

import collections
import concurrent.futures
import contextlib
import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from pose3d_jax import geometry, processors
from pose3d_jax.arrays import AnyArray
from pose3d_jax.images.boxes import cut_patch
from pose3d_jax.models import inference, precision
from pose3d_jax.models.folding import fold
from pose3d_jax.models.variables import Variables
from pose3d_jax.skeleton import NUM_JOINTS

#: Batch size of one program on a CPU: small batches stay in its caches; oneDNN takes larger ones.
CPU_BATCH, ONEDNN_BATCH = 4, 16


class Joints(NamedTuple):
    """Predictions of people."""

    crop: Float[np.ndarray, "n 16 2"]  # 2D joints, px of the network's input
    millimetres: Float[np.ndarray, "n 16 3"]  # 3D joints relative to the root, mm
    confidence: Float[np.ndarray, "n 16"]  # height of each heat-map's peak
    depth: Float[np.ndarray, "n 16"]  # relative to the root, in half sides of the network's input


class BatchedNetwork:
    """A network that predicts any number of people, in batches.

    All crops have one shape, and the number of people is rounded up to a power of two: one program
    is compiled for each power of two up to `size`, whatever the sizes of the images. Threads may
    share an instance.

    Args:
        graphdef: structure of the network; as an attribute with folded norms (`models.folding`).
        variables: parameters and statistics; as an attribute the folded parameters.
        input_side: of the network's input, px.
        batch_size: people predicted at once, at most.

    Attributes:
        size: of a full batch.
        workers: batches that the device works on at a time.
        has_detector: whether the network has a detection head.
    """

    def __init__(
        self, graphdef: nnx.GraphDef, variables: Variables, input_side: int, batch_size: int
    ):
        self.graphdef, self.variables = fold(graphdef, variables)
        self.input_side = input_side
        self.batch_size = batch_size
        self._on_cpu = jax.default_backend() == "cpu"
        model = nnx.merge(self.graphdef, *self.variables)
        on_cpu_size = ONEDNN_BATCH if precision.compiler_options(model.dtype) else CPU_BATCH
        self.size = min(batch_size, on_cpu_size) if self._on_cpu else batch_size
        # An accelerator works on one batch after the other; the second waits on the device.
        on_cpu_workers = max(min(processors.usable(), batch_size // self.size), 1)
        self.workers = on_cpu_workers if self._on_cpu else 2
        self.has_detector = model.detector is not None
        # A plain list is quicker to pass than the states of hundreds of variables.
        leaves, tree = jax.tree.flatten(self.variables)
        self._variables = jax.device_put(leaves)
        self._predict, self._apply, self._detect = _programs(
            self.graphdef, tree, model.dtype, input_side
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(processors.usable(), "crop")
        self._device = concurrent.futures.ThreadPoolExecutor(self.workers, "predict")
        self._compiled: set[tuple] = set()
        self._compiling = threading.Lock()

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        index: Int[np.ndarray, "n"],
        squares: Float[np.ndarray, "n 3"],
        sizes: Float[np.ndarray, "n"],
        *,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> Joints:
        """Predicts people in any number.

        Args:
            images: RGB.
            index: of each person's image.
            squares: centre x, y and side around each person, px of their image.
            sizes: the people's bone-length sums, mm.
            flip: average with the predictions of the mirror images.
            scales: average over crops this many times as large as the squares.
        """
        passes = flip, tuple(map(float, scales))
        reach = max(1.0, *scales)
        size = self._size_for(len(squares))
        waiting: collections.deque = collections.deque()
        outputs = [_NO_JOINTS]
        for first in range(0, len(squares), size):
            part = slice(first, first + size)
            cropped = self.crop(images, index[part], squares[part], reach)
            waiting.append(self._device.submit(self._run, cropped, sizes[part], passes))
            if len(waiting) > self.workers:
                outputs.append(waiting.popleft().result())
        outputs += [started.result() for started in waiting]
        return Joints(*(np.concatenate(parts) for parts in zip(*outputs)))

    def crop(
        self,
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        index: Int[np.ndarray, "n"],
        squares: Float[np.ndarray, "n 3"],
        reach: float = 1.0,
    ) -> tuple[UInt8[np.ndarray, "n p p 3"], Float[np.ndarray, "n 3"]]:
        """Cuts people out of their images, on several threads.

        Args:
            images: RGB.
            index: of each person's image.
            squares: centre x, y and side around each person, px of their image.
            reach: the patches are this many times as large as the squares.

        Returns:
            Patches of one shape, and the squares in their px.
        """

        def cut(number: int):
            extended = squares[number] * (1.0, 1.0, reach)
            return cut_patch(images[index[number]], extended, self.input_side)

        patches = (self._pool.map if len(index) > 1 else map)(cut, range(len(index)))
        pixels, boxes = map(np.stack, zip(*patches))
        return pixels, boxes / (1, 1, reach)

    def model(self, images: Float[AnyArray, "n s s 3"]) -> tuple[list[Array], Array]:
        """The network itself: heat-maps of each stack, and depths."""
        return self._apply(self._variables, jnp.asarray(images))

    def detect(
        self, image: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Float[np.ndarray, "h/16 w/16"], Float[np.ndarray, "h/16 w/16 3"]]:
        """The network's detection head; see `inference.detect`."""
        scores, squares = self._detect(self._variables, jax.device_put(image[None]))
        return jax.device_get(scores)[0], jax.device_get(squares)[0]

    def _run(
        self,
        cropped: tuple[np.ndarray, np.ndarray],
        sizes: np.ndarray,
        passes: tuple[bool, tuple[float, ...]],
    ) -> Joints:
        count = len(sizes)
        size = min(_power_of_two(count), self.size)
        pixels, boxes, sizes = (
            np.concatenate([part, np.repeat(part[-1:], size - count, axis=0)])
            for part in (*cropped, sizes)
        )
        # The first batch of a size runs alone: several workers would compile the same program.
        program = size, passes
        with contextlib.nullcontext() if program in self._compiled else self._compiling:
            # Explicit transfers pass JAX's transfer guard.
            inputs = jax.device_put((pixels, np.float32(boxes), np.float32(sizes)))
            outputs = jax.device_get(self._predict(self._variables, *inputs, *passes))
            self._compiled.add(program)
        return Joints(*(output[:count] for output in outputs))

    def _size_for(self, count: int) -> int:
        """The batch size with the lowest latency: on a CPU, the workers share a call's people."""
        if not self._on_cpu:
            return self.size
        return min(self.size, _power_of_two(math.ceil(count / self.workers)))


_NO_JOINTS = Joints(
    *(np.zeros((0, NUM_JOINTS, *shape), np.float32) for shape in ((2,), (3,), (), ()))
)


def _power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`; 1 for none."""
    return 1 << max(count - 1, 0).bit_length()


@functools.lru_cache(maxsize=8)
def _programs(graphdef: nnx.GraphDef, tree, dtype, side: int) -> tuple[Callable, ...]:
    """Prediction, the network and its detection head, compiled once per structure."""

    def predict(variables, patches, squares, sizes, flip: bool, scales: tuple) -> Joints:
        joints, confidence, depth = inference.predict(
            graphdef,
            jax.tree.unflatten(tree, variables),
            patches,
            squares,
            flip=flip,
            scales=scales,
        )
        millimetres = geometry.to_millimetres(joints, depth, side, sizes)
        return Joints(joints, millimetres, confidence, depth)

    def apply(variables, images: Array):
        model = nnx.merge(graphdef, *jax.tree.unflatten(tree, variables))
        model.eval()
        return model(images)

    def detect(variables, images: Array):
        return inference.detect(graphdef, jax.tree.unflatten(tree, variables), images)

    jit = functools.partial(jax.jit, compiler_options=precision.compiler_options(dtype))
    return jit(predict, static_argnums=(4, 5)), jit(apply), jit(detect)
