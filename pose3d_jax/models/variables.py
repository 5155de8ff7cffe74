"""A network as structure, parameters and running statistics, and its predictions."""

import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from pose3d_jax import heatmaps
from pose3d_jax.errors import UserError
from pose3d_jax.models import PoseNetwork, build_network
from pose3d_jax.skeleton import MIRROR_ORDER

#: Name of the `pmap` axis.
AXIS = "data"


class Network(NamedTuple):
    """The network's structure, and its initial parameters and statistics."""

    graphdef: nnx.GraphDef
    params: nnx.State
    stats: nnx.State


def make_network(config: ml_collections.ConfigDict, *, axis_name: str | None = AXIS) -> Network:
    """Builds and initialises the network of a config.

    Args:
        config: the whole config.
        axis_name: axis of synchronised batch statistics; None where none is mapped.
    """
    synchronised = axis_name if config.optimizer.sync_batch_norm else None
    model = build_network(
        config.model, dtype=config.precision.compute, seed=config.seed, axis_name=synchronised
    )
    return Network(*nnx.split(model, nnx.Param, nnx.BatchStat))


def abstract_network(config: ml_collections.ConfigDict) -> Network:
    """The structure of a config's network, with shapes in place of arrays.

    Raises:
        UserError: the config describes no network.
    """

    def build():
        key = jax.random.key(0)
        # `nnx.Rngs` would count the draws, and the tracing of that takes 15 s for the paper's.
        rngs = types.SimpleNamespace(params=lambda: key)
        return PoseNetwork(**config.model, dtype=jnp.dtype(config.precision.compute), rngs=rngs)

    try:
        return Network(*nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The config describes no network: {error}") from error


def predict(
    network: Network, params, stats, images: Float[Array, "b s s 3"], *, flip: bool = False
) -> tuple[Float[Array, "b 16 2"], Float[Array, "b 16"], Float[Array, "b 16"]]:
    """Poses in eval mode.

    Args:
        network: from `make_network`.
        params: parameters.
        stats: running statistics.
        images: crops, RGB in [0, 1].
        flip: average the heat-maps and depths of each image and of its mirror image.

    Returns:
        2D joints in crop px, their scores, and depths in normalised units.
    """
    model = nnx.merge(network.graphdef, params, stats, copy=True)
    model.eval()
    maps, depth = model(jnp.concatenate([images, images[:, :, ::-1]]) if flip else images)
    last = maps[-1]
    if flip:
        last, mirrored = jnp.split(last, 2)
        last = (last + mirrored[:, :, ::-1][..., MIRROR_ORDER]) / 2
        depth, mirrored = jnp.split(depth, 2)
        depth = (depth + mirrored[:, MIRROR_ORDER]) / 2
    joints, scores = heatmaps.decode(last, heatmaps.STRIDE)
    return joints, scores, depth


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """A tree of arrays as a flat dictionary on the host, with readable names.

    The arrays are copies: on a CPU, a device's buffer may be reused by the next step.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.array(leaf) for path, leaf in leaves}


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The inverse of `flatten`, in the structure of `like`.

    Raises:
        UserError: names or shapes are not those of `like`.
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


def _name(path) -> str:
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    )
