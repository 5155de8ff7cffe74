"""The machine's two limits: `python -m benchmarks.peak`.

A large matrix product's operations per second, in the precision of training, and the bytes per
second of adding one to a large array in place (read and written).
"""

from benchmarks import measure  # isort: skip  # before JAX

import jax
import jax.numpy as jnp


def main() -> None:
    """The program."""
    config = measure.make_config(measure.options(__doc__).parse_args())
    side, length = (8192, 2**28) if measure.on_gpu() else (2048, 2**26)
    matrix = jnp.ones((side, side), config.precision.compute)
    product = jax.jit(jnp.matmul)
    array = jnp.ones(length, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def add_in_place():
        nonlocal array
        array = jax.block_until_ready(add(array))

    works = {
        "matrix product": lambda: jax.block_until_ready(product(matrix, matrix)),
        "addition in place": add_in_place,
    }
    seconds = measure.alternate(works, rounds=10)
    shortest = {name: min(times) for name, times in seconds.items()}
    rows = {
        "matrix product": {"GFLOP/s": 2 * side**3 / shortest["matrix product"] / 1e9},
        "addition in place": {"GB/s": 8 * length / shortest["addition in place"] / 1e9},
    }
    measure.report("peak", rows, config)


if __name__ == "__main__":
    measure.run(main)
