"""Structure and variables of a network: built from a config, flattened and restored by name.

The structure is an `nnx.GraphDef`, static and hashable. The variables are arrays: parameters and
batch normalisation's running statistics. Functions take them as two arguments.
"""

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from pose3d_jax.errors import UserError
from pose3d_jax.models import precision
from pose3d_jax.models.network import PoseNetwork

#: Name of the `pmap` axis.
AXIS = "data"


class Variables(NamedTuple):
    """The arrays of a network."""

    params: nnx.State  # parameters
    stats: nnx.State  # running statistics of batch normalisation


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """Context and decorator: JAX's default promotion of dtypes and ranks, as Flax's layers need it.

    A process may set `JAX_NUMPY_DTYPE_PROMOTION=strict` or `JAX_NUMPY_RANK_PROMOTION=raise`.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def split(model: PoseNetwork) -> tuple[nnx.GraphDef, Variables]:
    """Splits a module into structure and variables; the inverse of `nnx.merge`."""
    graphdef, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, Variables(*states)


@standard_promotion()
def make_network(
    config: ml_collections.ConfigDict, *, axis_name: str | None = AXIS
) -> tuple[nnx.GraphDef, Variables]:
    """Builds the network of a config, with initial values.

    Args:
        config: the whole config.
        axis_name: `pmap` axis over which batch statistics are averaged, where the config asks for
            synchronised batch normalisation; None outside of `pmap`.

    Raises:
        ValueError: the config's sizes contradict each other.
    """
    return split(
        PoseNetwork(
            **config.model,
            dtype=jnp.dtype(precision.resolve(config.precision.compute, training=True)),
            axis_name=axis_name if config.optimizer.sync_batch_norm else None,
            rngs=nnx.Rngs(config.seed),
        )
    )


@standard_promotion()
def abstract_network(config: ml_collections.ConfigDict) -> tuple[nnx.GraphDef, Variables]:
    """The network of a config with shapes (`jax.ShapeDtypeStruct`) in place of arrays.

    Raises:
        UserError: the config describes no network.
    """

    def build():
        dtype = jnp.dtype(precision.resolve(config.precision.compute))
        key = jax.random.key(0)
        # `nnx.Rngs` counts its draws; tracing the counters of the paper's network takes 15 s.
        rngs = types.SimpleNamespace(params=lambda: key)
        return PoseNetwork(**config.model, dtype=dtype, rngs=rngs)

    try:
        return split(nnx.eval_shape(build))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The config describes no network: {error}") from error


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Flattens a tree of arrays into a dictionary of host arrays with readable names.

    The arrays are copies: on a CPU, the next step may reuse a device's buffer.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.array(leaf) for path, leaf in leaves}


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The inverse of `flatten`, in the structure of `like`.

    Raises:
        UserError: names or shapes differ from those of `like`.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): np.shape(leaf) for path, leaf in leaves}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        names = sorted(expected.keys() | found.keys())
        different = next(name for name in names if expected.get(name) != found.get(name))
        raise UserError(
            f"The checkpoint is of another network: {different} is {found.get(different)} there "
            f"and {expected.get(different)} in the config."
        )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in expected])


#: The readable name of a leaf's path: `params/stem/patch/kernel/value`.
_name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
