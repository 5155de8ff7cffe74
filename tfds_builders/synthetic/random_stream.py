"""Random numbers of one record from a single call of JAX's generator."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


class RandomStream:
    """Returns the numbers of one pool in order.

    A scene needs about three hundred numbers in a hundred places. One generator call for each
    would take longer to compile than the renderer.

    Args:
        key: random key of the pool.
        count: size of the pool.
    """

    def __init__(self, key: Key[Array, ""], count: int):
        self._pool = jax.random.uniform(key, (count,), jnp.float32)
        self._used = 0

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Array:
        """Numbers in [low, high)."""
        count = 1
        for extent in shape:
            count *= extent
        first, self._used = self._used, self._used + count
        if self._used > len(self._pool):
            raise ValueError(f"the pool of {len(self._pool)} numbers is empty: make it larger")
        return low + (high - low) * self._pool[first : self._used].reshape(shape)

    def normal(self, shape: tuple[int, ...] = ()) -> Float[Array, "*shape"]:
        """Standard normal numbers, limited to ±5 so that they are finite."""
        return jax.scipy.special.ndtri(self.uniform(3e-7, 1 - 3e-7, shape))

    def chance(
        self, probability: float | Float[Array, ""], shape: tuple[int, ...] = ()
    ) -> Bool[Array, "*shape"]:
        """True with the given probability."""
        return self.uniform(shape=shape) < probability

    def index(self, count: int | Array, shape: tuple[int, ...] = ()) -> Int[Array, "*shape"]:
        """Integers in [0, count)."""
        # The product can round up to `count`.
        drawn = jnp.floor(self.uniform(shape=shape) * count).astype(jnp.int32)
        return jnp.minimum(drawn, count - 1)

    def pick(self, options: Array) -> Array:
        """One row of `options`."""
        return options[self.index(len(options))]
