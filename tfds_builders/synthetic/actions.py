"""Actions: each has a few clips, and each clip is a closed path through key poses (`actions.toml`).

A pose is a point on such a path, plus noise, and mirrored in half of the cases. The laboratory has
the actions of Table 1, the wild the seven activities of MPI-INF-3DHP. The domain "varied" has both
and sport, with wider ranges of motion and limbs exchanged between poses.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic.kinematics import (
    ANGLE_LIMITS,
    ANGLE_NAMES,
    ATHLETIC_LIMITS,
    LIMBS,
    mirror,
)
from tfds_builders.synthetic.random_stream import RandomStream

_TABLES = tomllib.loads(Path(__file__).with_name("actions.toml").read_text())
#: Actions by domain and name.
ACTIONS = {
    "lab": _TABLES["lab"],
    "wild": _TABLES["wild"],
    "varied": _TABLES["everyday"] | _TABLES["wild"] | _TABLES["sport"],
}
#: Probability that a limb comes from another pose, in the domain "varied".
_EXCHANGE = 0.15

#: Standard deviation of the noise around a clip, degrees, in the order of `ANGLE_NAMES`.
_SPREAD = np.array(
    [
        2 if name.startswith("root")
        else 5 if name.startswith("trunk")
        else 8 if name.startswith("neck")
        else 10 if "shoulder" in name or "elbow" in name
        else 4
        for name in ANGLE_NAMES
    ],
    np.float32,
)  # fmt: skip


class MotionTable(NamedTuple):
    """The actions of one domain as arrays; `edges` are pairs of consecutive key poses."""

    key_poses: Float[np.ndarray, "poses 24"]
    edges: Int[np.ndarray, "actions edges 2"]
    num_edges: Int[np.ndarray, " actions"]
    spread: Float[np.ndarray, " actions"]
    seated: Float[np.ndarray, " actions"]
    lift: Float[np.ndarray, " actions"]
    limits: Float[np.ndarray, "24 2"]
    #: Probability that a limb comes from another pose.
    exchange: float


def motion_table(domain: str) -> MotionTable:
    """The actions of a domain: "lab", "wild" or "varied"."""
    poses, edges = [], []
    actions = ACTIONS[domain].values()
    for action in actions:
        edges.append([])
        for clip in action["clips"]:
            if isinstance(clip, str):
                clip = _TABLES["clips"].get(clip) or _TABLES["lab"][clip]["clips"][0]
            first = len(poses)
            poses += [_angles(**pose) for pose in clip]
            edges[-1] += [(first + i, first + (i + 1) % len(clip)) for i in range(len(clip))]
    longest = max(map(len, edges))
    varied = domain == "varied"
    return MotionTable(
        np.array(poses, np.float32),
        np.array([e + [(0, 0)] * (longest - len(e)) for e in edges], np.int32),
        np.array([len(e) for e in edges], np.int32),
        np.array([action.get("spread", 1) for action in actions], np.float32),
        np.array([action.get("seated", False) for action in actions]),
        np.array([action.get("lift", 0) for action in actions], np.float32),
        ATHLETIC_LIMITS if varied else ANGLE_LIMITS,
        _EXCHANGE if varied else 0.0,
    )


def _angles(arms: str, legs: str, trunk=(3, 0, 0), neck=(5, 0, 0), root=(0, 0)) -> list[float]:
    """The angles of a key pose, in the order of `ANGLE_NAMES`."""
    limbs = [
        angle
        for kind, names in (("arms", arms), ("legs", legs))
        for name in (names.split() * 2)[:2]
        for angle in _TABLES[kind][name]
    ]
    return [*root, *trunk, *neck, *limbs]


def sample_angles(
    rng: RandomStream, table: MotionTable, action: Int[Array, ""], count: int
) -> Float[Array, "count 24"]:
    """Samples poses of an action, in degrees, clipped to the anatomical ranges."""
    edge = jnp.asarray(table.edges)[action, rng.index(jnp.asarray(table.num_edges)[action])]
    start, end = jnp.asarray(table.key_poses)[edge]
    angles = start + rng.uniform(shape=(count, 1)) * (end - start)
    if table.exchange:
        angles = _exchange_limbs(rng, table, angles)
    noise = _SPREAD * rng.normal(angles.shape)
    angles = angles + noise * jnp.asarray(table.spread)[action]
    angles = jnp.clip(angles, table.limits[:, 0], table.limits[:, 1])
    return jnp.where(rng.chance(0.5), mirror(angles), angles)


def _exchange_limbs(
    rng: RandomStream, table: MotionTable, angles: Float[Array, "count 24"]
) -> Float[Array, "count 24"]:
    """Replaces some limbs by those of other key poses."""
    for limb in LIMBS:
        other = jnp.asarray(table.key_poses)[rng.index(len(table.key_poses)), limb]
        angles = angles.at[:, limb].set(
            jnp.where(rng.chance(table.exchange), other, angles[:, limb])
        )
    return angles
