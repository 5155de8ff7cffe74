"""The arithmetic that a network computes in: float32, or bfloat16 where this machine is fast at it.

Some CPUs multiply bfloat16 numbers in hardware. XLA reaches that through oneDNN, which jaxlib 0.12
calls if a program is compiled with `ONEDNN_OPTIONS`. These options apply to this package's programs
only; `XLA_FLAGS` and a user's own programs do not change. `benchmarks/README.md` has the speeds.
"""

import functools
import logging
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pose3d_jax.models import onednn

log = logging.getLogger(__name__)

#: Values of `precision.compute` and of the argument `compute`.
COMPUTE = ("auto", "float32", "bfloat16")
#: Products and convolutions go to oneDNN; YNNPACK, which would take the products, keeps the sums.
ONEDNN_OPTIONS = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
#: Largest relative error of a kernel's gradient in bfloat16. Right ones are 0.01 off, wrong ones 1.
_GRADIENT_TOLERANCE = 0.05


def resolve(compute: str, *, training: bool = False) -> str:
    """The name of the arithmetic's type: that of "auto" is bfloat16 where oneDNN multiplies it.

    Training needs gradients as well, which are tested once.
    """
    if compute != "auto":
        return compute
    return "bfloat16" if has_onednn() and (not training or gradients_are_right()) else "float32"


def compiler_options(dtype: Any, *, training: bool = False) -> dict[str, Any] | None:
    """Options for `jax.jit` and `Lowered.compile`; None where a program needs none.

    Programs that compute gradients have none if oneDNN's are wrong.
    """
    if jnp.dtype(dtype) != jnp.bfloat16 or not has_onednn():
        return None
    if training and not gradients_are_right():
        log.warning("oneDNN computes wrong gradients on this machine; training does not use it.")
        return None
    return ONEDNN_OPTIONS


def compile_with(options: dict[str, Any] | None, program: Callable) -> Callable:
    """A `pmap` or `jit` program that is compiled with options, once for each shape of arguments."""
    if options is None:
        return program
    compiled = {}

    @functools.wraps(program)
    def call(*arguments):
        key = tuple((np.shape(leaf), leaf.dtype) for leaf in jax.tree.leaves(arguments))
        if key not in compiled:
            compiled[key] = program.lower(*arguments).compile(compiler_options=options)
        return compiled[key](*arguments)

    return call


@functools.cache
def has_onednn() -> bool:
    """Whether XLA passes bfloat16 products and convolutions to oneDNN, and the CPU gains by it.

    CPUs gain that have `amx_bf16`, and AMD's that have `avx512_bf16`; Intel's without AMX do not.
    """
    if jax.default_backend() != "cpu" or not _multiplies_bfloat16():
        return False
    shapes = (1, 8, 8, 32), (3, 3, 32, 32)
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes)
    try:
        program = jax.jit(onednn.convolve, compiler_options=ONEDNN_OPTIONS)
        found = "__onednn$convolution" in program.lower(x, kernel).compile().as_text()
    except jax.errors.JaxRuntimeError:  # This jaxlib has no such options.
        return False
    # JAX warns of each program that it cannot serialise; those that call oneDNN are such programs.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    return found


@functools.cache
def gradients_are_right() -> bool:
    """Whether oneDNN's gradients of three layers agree with float32's."""
    draw = functools.partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    x, cotangent = draw((2, 16, 16, 64)), draw((2, 16, 16, 64))
    kernels = draw((64, 64)) / 8, draw((3, 3, 64, 64)) / 24
    ones, zeros = np.ones(64, np.float32), np.zeros(64, np.float32)

    def gradients(kernels, x, cotangent):
        def layers(kernels):
            y = onednn.pointwise(x, kernels[0], None)
            return onednn.convolve(onednn.normalise_relu(y, ones, zeros, None)[0], kernels[1])

        return jax.vjp(layers, kernels)[1](cotangent)[0]

    def low(x):
        return jnp.asarray(x, jnp.bfloat16)

    program = jax.jit(gradients, compiler_options=ONEDNN_OPTIONS)
    with (  # A process may have stricter settings.
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.transfer_guard("allow"),
    ):
        pairs = program(kernels, low(x), low(cotangent)), jax.jit(gradients)(kernels, x, cotangent)
        errors = [float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in zip(*pairs)]
    return max(errors) < _GRADIENT_TOLERANCE


def _multiplies_bfloat16() -> bool:
    if platform.system() != "Linux":
        return False
    words = set(Path("/proc/cpuinfo").read_text().split())
    return "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= words
