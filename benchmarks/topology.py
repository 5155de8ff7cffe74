"""TPUs that are not there, and what one of their chips could do at best.

The library `libtpu` compiles for a topology by its name, such as v5e:2x2, on any machine.
"""

import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import jax
from jax.experimental import topologies

from pose3d_jax.errors import UserError


class Peak(NamedTuple):
    """A chip's published peaks: bfloat16 operations and bytes of main memory, per second."""

    operations: float
    bytes: float


#: https://docs.cloud.google.com/tpu/docs/system-architecture-tpu-vm
PEAKS = {
    "v4": Peak(275e12, 1228e9),
    "v5e": Peak(197e12, 819e9),
    "v5p": Peak(459e12, 2765e9),
    "v6e": Peak(918e12, 1640e9),
}


def tpu_chips(topology: str) -> list[jax.Device]:
    """The chips of a topology, to compile for.

    Raises:
        UserError: libtpu is not installed, or does not know the topology.
    """
    library = os.environ.get("TPU_LIBRARY_PATH")
    if not (Path(library).is_file() if library else importlib.util.find_spec("libtpu")):
        raise UserError(
            "Compiling for TPUs needs libtpu: pip install --no-deps --target DIR libtpu, then set "
            "TPU_LIBRARY_PATH=DIR/libtpu/libtpu.so (in JAX's own environment, JAX would look for "
            "TPUs at every start)."
        )
    # It would wait for a cloud machine to say what it is.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"There are no chips {topology!r}: {error}") from error


def roofline(peak: Peak, operations: float, bytes_moved: float) -> float:
    """Images per second of one chip if nothing but its peaks limited it: an estimate.

    Args:
        peak: of the chip.
        operations: per image.
        bytes_moved: per image, to and from main memory.
    """
    return 1.0 / max(operations / peak.operations, bytes_moved / peak.bytes)
