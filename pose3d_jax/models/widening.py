"""A trained network as the start of a wider one that computes the same.

After Net2Net (Chen, Goodfellow and Shlens, ICLR 2016): the trained channels keep their weights, and
do not read the new channels at first. The new channels keep their initial values, read all
channels, and receive gradients from the first step on.
"""

from collections.abc import Mapping

import numpy as np

from pose3d_jax.errors import UserError

#: Parts of the network that a trained one may lack.
OPTIONAL = ("detector", "lifter")


def widen(
    trained: Mapping[str, np.ndarray], initial: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Puts a trained network's arrays into those of a network with more channels.

    Args:
        trained: parameters and statistics by name (`variables.flatten`); kernels have inputs and
            outputs as their last two axes.
        initial: those of the wider network, freshly initialised. Those of `OPTIONAL` parts that the
            trained network does not have stay as they are.

    Returns:
        Arrays of the wider network.

    Raises:
        UserError: the network is not wider, or has other layers.
    """
    widened = {name: np.array(array) for name, array in initial.items()}
    for name in widened.keys() - trained.keys():
        if name.split("/")[1] not in OPTIONAL:
            raise UserError(f"The trained network has no {name}.")
    for name, array in trained.items():
        target = widened.get(name)
        fits = target is not None and target.ndim == array.ndim
        if not fits or any(new < old for new, old in zip(target.shape, array.shape)):
            shape = None if target is None else target.shape
            raise UserError(
                f"The trained network does not fit: {name} is {array.shape} there and {shape} here."
            )
        if array.ndim >= 2:
            inputs, outputs = array.shape[-2:]
            target[..., inputs:, :outputs] = 0.0
        target[tuple(map(slice, array.shape))] = array
    return widened
