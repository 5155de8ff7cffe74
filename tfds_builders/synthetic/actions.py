"""Actions: each has a few clips, and each clip is a closed path through key poses.

A pose is a point on such a path, plus noise, and mirrored in half of the cases. The laboratory has
the actions of Table 1, the wild the seven activities of MPI-INF-3DHP. The domain "varied" has both
and sport, with wider ranges of motion and limbs exchanged between poses.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic.key_poses import RUN, WALK, Action, mirror, pose
from tfds_builders.synthetic.kinematics import (
    ANGLE_LIMITS,
    ANGLE_NAMES,
    ATHLETIC_LIMITS,
    LIMBS,
)
from tfds_builders.synthetic.random_stream import RandomStream
from tfds_builders.synthetic.sport import SPORT_ACTIONS

LAB_ACTIONS = {
    "Directions": Action([[
        pose("point_side hang", "stand ease", trunk=(2, 0, 8), neck=(0, 0, 30)),
        pose("point_front hang", "ease stand", neck=(0, 0, 5)),
        pose("point_up waist", "apart", neck=(-12, 0, 15)),
        pose("table hang", "stand", neck=(12, 0, 0)),
    ]]),
    "Discussion": Action([[
        pose("chest waist", "ease stand", neck=(4, 0, -15)),
        pose("shake shake", "stand ease", trunk=(6, 0, 0)),
        pose("waist hang", "apart", neck=(3, 0, 20)),
        pose("table chest", "stand", trunk=(4, 4, 6)),
    ]]),
    "Eating": Action([[
        pose("mouth table", "sit", trunk=(12, 0, 0), neck=(12, 0, 0)),
        pose("table table", "sit_tucked", trunk=(18, 0, 0), neck=(18, 0, 0)),
        pose("mouth lap", "sit_long", trunk=(8, 0, 0), neck=(10, 0, 0)),
    ]], seated=True),
    "Greeting": Action([[
        pose("wave hang", "stand"),
        pose("shake hang", "strike push", trunk=(10, 0, 5)),
        pose("point_up hang", "apart", neck=(-5, 0, 0)),
        pose("wide wide", "stand ease"),
    ]]),
    "Phoning": Action(
        [[
            pose("ear hang", "ease stand", neck=(10, 8, 0)),
            pose("ear pocket", "stand ease", neck=(5, 5, 20)),
            pose("ear waist", "apart", neck=(12, 8, -15)),
        ]]
    ),
    "Photo": Action([[
        pose("camera", "stand", neck=(0, 0, 0)),
        pose("camera", "half_squat", trunk=(20, 0, 0), neck=(-5, 0, 0), root=(15, 0)),
        pose("camera", "kneel half_kneel", trunk=(5, 0, 0)),
    ]]),
    "Posing": Action([[
        pose("hip hip", "apart"),
        pose("hip hang", "ease stand", trunk=(0, 5, 8), neck=(-3, 0, 20)),
        pose("behind_head hip", "stand ease", trunk=(-3, -5, 0)),
        pose("crossed pocket", "stand", neck=(-5, 0, -20)),
    ]]),
    "Purchases": Action([[
        pose("table hang", "stand ease", trunk=(15, 0, 0), neck=(15, 0, 0)),
        pose("low low", "half_squat", trunk=(42, 0, 0), neck=(10, 0, 0), root=(20, 0)),
        pose("shake table", "strike push", trunk=(20, 0, 8), neck=(12, 0, 0)),
        pose("point_up table", "stand", trunk=(4, 0, 0), neck=(-8, 0, 0)),
    ]]),
    "Sitting": Action([[
        pose("lap lap", "sit"),
        pose("table lap", "sit_open", trunk=(15, 0, 0)),
        pose("crossed lap", "sit_crossed sit", trunk=(6, 0, 5)),
        pose("lap waist", "sit_long sit_tucked", trunk=(-6, 0, 0), neck=(0, 0, 20)),
    ]], seated=True),
    "SittingDown": Action([
        [
            pose("brace", "floor_long", trunk=(-5, 0, 0), root=(-14, 0)),
            pose("lap brace", "floor_knee floor_long", trunk=(15, 0, 0), root=(-8, 0)),
            pose("table", "floor_knee", trunk=(25, 0, 0), root=(-8, 0)),
        ],
        [
            pose("lap", "tailor", trunk=(18, 0, 0), root=(-6, 0)),
            pose("lap table", "tailor", trunk=(26, 0, 8), neck=(15, 0, 0), root=(-6, 0)),
        ],
        [
            pose("lap", "squat", trunk=(25, 0, 0), root=(18, 0)),
            pose("table", "squat", trunk=(35, 0, 0), neck=(-5, 0, 0), root=(22, 0)),
        ],
    ]),
    "Smoking": Action([[
        pose("mouth hang", "stand ease"),
        pose("waist pocket", "ease stand", neck=(0, 0, 15)),
        pose("mouth waist", "apart", neck=(-5, 0, -10)),
    ]]),
    "Waiting": Action([[
        pose("crossed watch", "ease stand"),
        pose("watch hang", "stand", neck=(25, 0, 0)),
        pose("pocket hip", "stand ease", neck=(0, 0, 30)),
        pose("hang", "strike stance", neck=(0, 0, -30)),
    ]]),
    "WalkDog": Action([[
        pose("leash swing_front", "strike push", trunk=(6, 0, 4), neck=(12, 0, 5)),
        pose("leash hang", "stance swing", trunk=(8, 0, 4), neck=(12, 0, 5)),
        pose("leash swing_back", "push strike", trunk=(8, 0, 6), neck=(10, 0, 5)),
        pose("low hang", "half_squat", trunk=(30, 0, 0), neck=(5, 0, 0), root=(18, 0)),
    ]]),
    "Walking": Action([WALK]),
    "WalkPair": Action([[
        pose("waist swing_front", "strike push", neck=(2, 0, 25)),
        pose("waist hang", "stance swing", neck=(2, 0, 25)),
        pose("shake swing_back", "push strike", neck=(2, 0, 20)),
        pose("waist hang", "swing stance", neck=(2, 0, 20)),
    ]]),
}  # fmt: skip

WILD_ACTIONS = {
    "Stand/Walk": Action([
        WALK,
        RUN,
        [pose("hip hang", "ease stand"), pose("crossed", "apart"), pose("pocket", "stand ease")],
    ], 1.3),
    "Exercise": Action([
        [pose("hang", "stand"), pose("overhead", "star")],
        [pose("point_front", "stand"), pose("point_front", "squat", (28, 0, 0), root=(22, 0))],
        [pose("hip", "lunge trail"), pose("overhead hip", "lunge trail", (0, -18, 0))],
        [
            pose("point_front", "stand", neck=(-20, 0, 0), root=(72, 0)),
            pose("shake", "stand", neck=(-25, 0, 0), root=(78, 0)),
        ],
    ], 1.2),
    "Sit on chair": Action(
        LAB_ACTIONS["Sitting"].clips
        + LAB_ACTIONS["Eating"].clips
        + [[
            pose("behind_head", "sit_long", (-10, 0, 0), root=(-8, 0)),
            pose("ear lap", "sit_crossed sit", neck=(5, 5, 0)),
            pose("wave table", "sit_open", (10, 0, 0)),
        ]], 1.4, seated=True
    ),
    "Crouch/Reach": Action([
        [
            pose("low low", "squat", (30, 0, 0), root=(22, 0)),
            pose("low table", "half_squat", (55, 0, 10), root=(30, 0)),
        ],
        [pose("overhead hang", "stand", (-5, 0, 0), (-25, 0, 0)), pose("overhead", "stand")],
        [
            pose("low lap", "kneel half_kneel", (35, 0, 0)),
            pose("point_front lap", "kneel half_kneel", (10, 0, 10)),
        ],
    ], 1.3),
    "On the floor": Action([
        [
            pose("hang lap", "stand ease", root=(-86, 0)),
            pose("behind_head", "floor_knee stand", root=(-86, 0)),
            pose("overhead hang", "half_squat ease", root=(-86, 0)),
        ],
        [pose("mouth", "stand swing", neck=(-25, 0, 0), root=(84, 0)),
         pose("camera", "stand", (-18, 0, 0), (-25, 0, 0), root=(80, 0))],
        [
            pose("low", "all_fours", neck=(-20, 0, 0), root=(68, 0)),
            pose("low point_front", "all_fours", neck=(-25, 0, 0), root=(66, 0)),
        ],
        [
            pose("shake lap", "half_squat sit", root=(0, 84)),
            pose("mouth", "ease sit", root=(0, 82)),
        ],
        *LAB_ACTIONS["SittingDown"].clips[:2],
    ], 1.2),
    "Sports": Action([
        [
            pose("wide swing_back", "kick stance", (-8, 0, 8)),
            pose("hang wide", "push half_squat"),
        ],
        [
            pose("behind_head point_front", "apart", (-12, 0, 25)),
            pose("point_front swing_back", "lunge trail", (18, 0, -25)),
        ],
        [
            pose("chest chest", "half_squat", (25, 0, 25), root=(15, 0)),
            pose("point_side chest", "half_squat apart", (15, 0, -25), root=(12, 0)),
        ],
        RUN,
        [pose("wide", "run trail", (20, 0, 0)), pose("overhead", "star", (-12, 0, 0))],
    ], 1.4),
    "Miscellaneous": Action([
        action.clips[0] for name, action in LAB_ACTIONS.items() if not action.seated
    ], 1.6),
}  # fmt: skip

#: Actions that "varied" has in addition, so that standing and walking are frequent.
_EVERYDAY = {
    "Stand": Action([
        LAB_ACTIONS[name].clips[0]
        for name in ("Directions", "Discussion", "Greeting", "Phoning", "Posing", "Waiting")
    ], 1.5),
    "Walk": Action([WALK, LAB_ACTIONS["WalkDog"].clips[0], LAB_ACTIONS["WalkPair"].clips[0]], 1.5),
}  # fmt: skip

ACTIONS = {
    "lab": LAB_ACTIONS,
    "wild": WILD_ACTIONS,
    "varied": _EVERYDAY | WILD_ACTIONS | SPORT_ACTIONS,
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
    for action in ACTIONS[domain].values():
        edges.append([])
        for clip in action.clips:
            first = len(poses)
            poses.extend(clip)
            edges[-1] += [(first + i, first + (i + 1) % len(clip)) for i in range(len(clip))]
    longest = max(map(len, edges))
    actions = ACTIONS[domain].values()
    varied = domain == "varied"
    return MotionTable(
        np.stack(poses),
        np.array([e + [(0, 0)] * (longest - len(e)) for e in edges], np.int32),
        np.array([len(e) for e in edges], np.int32),
        np.array([a.spread for a in actions], np.float32),
        np.array([a.seated for a in actions], np.bool_),
        np.array([a.lift for a in actions], np.float32),
        ATHLETIC_LIMITS if varied else ANGLE_LIMITS,
        _EXCHANGE if varied else 0.0,
    )


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
