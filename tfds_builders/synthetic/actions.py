"""What people do: each action is a few clips, each clip a closed path through key poses.

A pose is a point on such a path, plus noise, perhaps mirrored. The laboratory's actions are the
rows of Table 1, the wild's are the seven activities of MPI-INF-3DHP.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pose3d_jax.arrays import AnyArray
from tfds_builders.synthetic.draws import Draws
from tfds_builders.synthetic.kinematics import (
    ANGLE_LIMITS,
    ANGLE_NAMES,
    MIRROR_ANGLES,
    MIRROR_SIGNS,
)

#: Shoulder plane, elevation, rotation, and elbow. Named by where the hand is.
ARMS = {
    "hang": (65, 13, -15, 18),
    "swing_front": (28, 26, -10, 25),
    "swing_back": (122, 22, -10, 12),
    "ear": (5, 80, -25, 140),
    "mouth": (22, 67, -47, 129),
    "waist": (60, 34, -42, 81),
    "camera": (23, 74, -32, 107),
    "chest": (20, 48, -65, 88),
    "crossed": (12, 42, -78, 86),
    "hip": (105, 46, -64, 73),
    "table": (26, 37, -50, 60),
    "watch": (19, 52, -63, 94),
    "wave": (54, 78, 41, 104),
    "shake": (5, 47, 0, 31),
    "point_side": (87, 78, 20, 30),
    "point_front": (8, 85, 0, 8),
    "point_up": (34, 125, 11, 30),
    "lap": (25, 28, -30, 50),
    "pocket": (115, 32, -35, 55),
    "overhead": (60, 160, 17, 25),
    "leash": (15, 38, 0, 40),
    "low": (15, 75, -10, 20),
    "brace": (125, 52, 0, 15),
    "behind_head": (85, 110, 60, 130),
    "wide": (88, 90, 10, 12),
}
#: Hip flexion, abduction, rotation, and knee.
LEGS = {
    "stand": (1, 5, 8, 3),
    "ease": (12, 7, 14, 22),
    "apart": (3, 14, 12, 4),
    "strike": (28, 3, 5, 8),
    "push": (-13, 3, 5, 24),
    "stance": (4, 3, 5, 8),
    "swing": (22, 3, 5, 62),
    "sit": (84, 8, 5, 86),
    "sit_long": (80, 9, 6, 55),
    "sit_tucked": (84, 8, 5, 108),
    "sit_open": (82, 22, 12, 90),
    "sit_crossed": (98, 0, 25, 78),
    "floor_long": (84, 9, 6, 8),
    "floor_knee": (112, 9, 5, 112),
    "tailor": (88, 38, 44, 132),
    "squat": (115, 18, 14, 132),
    "half_squat": (68, 14, 10, 78),
    "kneel": (4, 8, 0, 98),
    "half_kneel": (88, 8, 5, 92),
    "lunge": (72, 5, 5, 76),
    "trail": (-16, 4, 3, 34),
    "kick": (82, 5, 0, 22),
    "run": (62, 4, 4, 95),
    "star": (4, 32, 10, 5),
    "all_fours": (70, 8, 0, 88),
}


def _pose(arms: str, legs: str, trunk=(3, 0, 0), neck=(5, 0, 0), root=(0, 0)) -> np.ndarray:
    """Angles of a key pose. `arms` and `legs` are "right left", or one name for both."""
    right_arm, left_arm = (arms.split() * 2)[:2]
    right_leg, left_leg = (legs.split() * 2)[:2]
    return np.array(
        [
            *root,
            *trunk,
            *neck,
            *ARMS[right_arm],
            *ARMS[left_arm],
            *LEGS[right_leg],
            *LEGS[left_leg],
        ],
        np.float32,
    )


def mirror(angles: Float[AnyArray, "*batch 24"]) -> Float[AnyArray, "*batch 24"]:
    """The same pose seen in a mirror."""
    return MIRROR_SIGNS * angles[..., MIRROR_ANGLES]


def _gait(strike: np.ndarray, swing: np.ndarray) -> list[np.ndarray]:
    """A whole gait cycle from its first half."""
    return [strike, swing, mirror(strike), mirror(swing)]


_WALK = _gait(
    _pose("swing_back swing_front", "strike push", trunk=(4, 0, -6)),
    _pose("hang", "stance swing", trunk=(4, 0, 0)),
)
_RUN = _gait(
    _pose("swing_back chest", "run trail", trunk=(10, 0, -8), neck=(-5, 0, 0), root=(6, 0)),
    _pose("waist chest", "stance run", trunk=(8, 0, 0), root=(5, 0)),
)


class Action(NamedTuple):
    """The clips of one action, the noise around them, and whether there is a seat."""

    clips: list[list[np.ndarray]]
    spread: float = 1.0
    seated: bool = False


LAB_ACTIONS = {
    "Directions": Action([[
        _pose("point_side hang", "stand ease", trunk=(2, 0, 8), neck=(0, 0, 30)),
        _pose("point_front hang", "ease stand", neck=(0, 0, 5)),
        _pose("point_up waist", "apart", neck=(-12, 0, 15)),
        _pose("table hang", "stand", neck=(12, 0, 0)),
    ]]),
    "Discussion": Action([[
        _pose("chest waist", "ease stand", neck=(4, 0, -15)),
        _pose("shake shake", "stand ease", trunk=(6, 0, 0)),
        _pose("waist hang", "apart", neck=(3, 0, 20)),
        _pose("table chest", "stand", trunk=(4, 4, 6)),
    ]]),
    "Eating": Action([[
        _pose("mouth table", "sit", trunk=(12, 0, 0), neck=(12, 0, 0)),
        _pose("table table", "sit_tucked", trunk=(18, 0, 0), neck=(18, 0, 0)),
        _pose("mouth lap", "sit_long", trunk=(8, 0, 0), neck=(10, 0, 0)),
    ]], seated=True),
    "Greeting": Action([[
        _pose("wave hang", "stand"),
        _pose("shake hang", "strike push", trunk=(10, 0, 5)),
        _pose("point_up hang", "apart", neck=(-5, 0, 0)),
        _pose("wide wide", "stand ease"),
    ]]),
    "Phoning": Action(
        [[
            _pose("ear hang", "ease stand", neck=(10, 8, 0)),
            _pose("ear pocket", "stand ease", neck=(5, 5, 20)),
            _pose("ear waist", "apart", neck=(12, 8, -15)),
        ]]
    ),
    "Photo": Action([[
        _pose("camera", "stand", neck=(0, 0, 0)),
        _pose("camera", "half_squat", trunk=(20, 0, 0), neck=(-5, 0, 0), root=(15, 0)),
        _pose("camera", "kneel half_kneel", trunk=(5, 0, 0)),
    ]]),
    "Posing": Action([[
        _pose("hip hip", "apart"),
        _pose("hip hang", "ease stand", trunk=(0, 5, 8), neck=(-3, 0, 20)),
        _pose("behind_head hip", "stand ease", trunk=(-3, -5, 0)),
        _pose("crossed pocket", "stand", neck=(-5, 0, -20)),
    ]]),
    "Purchases": Action([[
        _pose("table hang", "stand ease", trunk=(15, 0, 0), neck=(15, 0, 0)),
        _pose("low low", "half_squat", trunk=(42, 0, 0), neck=(10, 0, 0), root=(20, 0)),
        _pose("shake table", "strike push", trunk=(20, 0, 8), neck=(12, 0, 0)),
        _pose("point_up table", "stand", trunk=(4, 0, 0), neck=(-8, 0, 0)),
    ]]),
    "Sitting": Action([[
        _pose("lap lap", "sit"),
        _pose("table lap", "sit_open", trunk=(15, 0, 0)),
        _pose("crossed lap", "sit_crossed sit", trunk=(6, 0, 5)),
        _pose("lap waist", "sit_long sit_tucked", trunk=(-6, 0, 0), neck=(0, 0, 20)),
    ]], seated=True),
    "SittingDown": Action([
        [
            _pose("brace", "floor_long", trunk=(-5, 0, 0), root=(-14, 0)),
            _pose("lap brace", "floor_knee floor_long", trunk=(15, 0, 0), root=(-8, 0)),
            _pose("table", "floor_knee", trunk=(25, 0, 0), root=(-8, 0)),
        ],
        [
            _pose("lap", "tailor", trunk=(18, 0, 0), root=(-6, 0)),
            _pose("lap table", "tailor", trunk=(26, 0, 8), neck=(15, 0, 0), root=(-6, 0)),
        ],
        [
            _pose("lap", "squat", trunk=(25, 0, 0), root=(18, 0)),
            _pose("table", "squat", trunk=(35, 0, 0), neck=(-5, 0, 0), root=(22, 0)),
        ],
    ]),
    "Smoking": Action([[
        _pose("mouth hang", "stand ease"),
        _pose("waist pocket", "ease stand", neck=(0, 0, 15)),
        _pose("mouth waist", "apart", neck=(-5, 0, -10)),
    ]]),
    "Waiting": Action([[
        _pose("crossed watch", "ease stand"),
        _pose("watch hang", "stand", neck=(25, 0, 0)),
        _pose("pocket hip", "stand ease", neck=(0, 0, 30)),
        _pose("hang", "strike stance", neck=(0, 0, -30)),
    ]]),
    "WalkDog": Action([[
        _pose("leash swing_front", "strike push", trunk=(6, 0, 4), neck=(12, 0, 5)),
        _pose("leash hang", "stance swing", trunk=(8, 0, 4), neck=(12, 0, 5)),
        _pose("leash swing_back", "push strike", trunk=(8, 0, 6), neck=(10, 0, 5)),
        _pose("low hang", "half_squat", trunk=(30, 0, 0), neck=(5, 0, 0), root=(18, 0)),
    ]]),
    "Walking": Action([_WALK]),
    "WalkPair": Action([[
        _pose("waist swing_front", "strike push", neck=(2, 0, 25)),
        _pose("waist hang", "stance swing", neck=(2, 0, 25)),
        _pose("shake swing_back", "push strike", neck=(2, 0, 20)),
        _pose("waist hang", "swing stance", neck=(2, 0, 20)),
    ]]),
}  # fmt: skip

WILD_ACTIONS = {
    "Stand/Walk": Action([
        _WALK,
        _RUN,
        [_pose("hip hang", "ease stand"), _pose("crossed", "apart"), _pose("pocket", "stand ease")],
    ], 1.3),
    "Exercise": Action([
        [_pose("hang", "stand"), _pose("overhead", "star")],
        [_pose("point_front", "stand"), _pose("point_front", "squat", (28, 0, 0), root=(22, 0))],
        [_pose("hip", "lunge trail"), _pose("overhead hip", "lunge trail", (0, -18, 0))],
        [
            _pose("point_front", "stand", neck=(-20, 0, 0), root=(72, 0)),
            _pose("shake", "stand", neck=(-25, 0, 0), root=(78, 0)),
        ],
    ], 1.2),
    "Sit on chair": Action(
        LAB_ACTIONS["Sitting"].clips
        + LAB_ACTIONS["Eating"].clips
        + [[
            _pose("behind_head", "sit_long", (-10, 0, 0), root=(-8, 0)),
            _pose("ear lap", "sit_crossed sit", neck=(5, 5, 0)),
            _pose("wave table", "sit_open", (10, 0, 0)),
        ]], 1.4, seated=True
    ),
    "Crouch/Reach": Action([
        [
            _pose("low low", "squat", (30, 0, 0), root=(22, 0)),
            _pose("low table", "half_squat", (55, 0, 10), root=(30, 0)),
        ],
        [_pose("overhead hang", "stand", (-5, 0, 0), (-25, 0, 0)), _pose("overhead", "stand")],
        [
            _pose("low lap", "kneel half_kneel", (35, 0, 0)),
            _pose("point_front lap", "kneel half_kneel", (10, 0, 10)),
        ],
    ], 1.3),
    "On the floor": Action([
        [
            _pose("hang lap", "stand ease", root=(-86, 0)),
            _pose("behind_head", "floor_knee stand", root=(-86, 0)),
            _pose("overhead hang", "half_squat ease", root=(-86, 0)),
        ],
        [_pose("mouth", "stand swing", neck=(-25, 0, 0), root=(84, 0)),
         _pose("camera", "stand", (-18, 0, 0), (-25, 0, 0), root=(80, 0))],
        [
            _pose("low", "all_fours", neck=(-20, 0, 0), root=(68, 0)),
            _pose("low point_front", "all_fours", neck=(-25, 0, 0), root=(66, 0)),
        ],
        [
            _pose("shake lap", "half_squat sit", root=(0, 84)),
            _pose("mouth", "ease sit", root=(0, 82)),
        ],
        *LAB_ACTIONS["SittingDown"].clips[:2],
    ], 1.2),
    "Sports": Action([
        [
            _pose("wide swing_back", "kick stance", (-8, 0, 8)),
            _pose("hang wide", "push half_squat"),
        ],
        [
            _pose("behind_head point_front", "apart", (-12, 0, 25)),
            _pose("point_front swing_back", "lunge trail", (18, 0, -25)),
        ],
        [
            _pose("chest chest", "half_squat", (25, 0, 25), root=(15, 0)),
            _pose("point_side chest", "half_squat apart", (15, 0, -25), root=(12, 0)),
        ],
        _RUN,
        [_pose("wide", "run trail", (20, 0, 0)), _pose("overhead", "star", (-12, 0, 0))],
    ], 1.4),
    "Miscellaneous": Action([
        action.clips[0] for name, action in LAB_ACTIONS.items() if not action.seated
    ], 1.6),
}  # fmt: skip

ACTIONS = {"lab": LAB_ACTIONS, "wild": WILD_ACTIONS}

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


class Moves(NamedTuple):
    """The actions of one domain as arrays: `edges` joins key poses that follow one another."""

    key_poses: Float[np.ndarray, "poses 24"]
    edges: Int[np.ndarray, "actions edges 2"]
    num_edges: Int[np.ndarray, " actions"]
    spread: Float[np.ndarray, " actions"]
    seated: Float[np.ndarray, " actions"]


def moves(domain: str) -> Moves:
    """The actions of "lab" or "wild"."""
    poses, edges = [], []
    for action in ACTIONS[domain].values():
        edges.append([])
        for clip in action.clips:
            first = len(poses)
            poses.extend(clip)
            edges[-1] += [(first + i, first + (i + 1) % len(clip)) for i in range(len(clip))]
    longest = max(map(len, edges))
    actions = ACTIONS[domain].values()
    return Moves(
        np.stack(poses),
        np.array([e + [(0, 0)] * (longest - len(e)) for e in edges], np.int32),
        np.array([len(e) for e in edges], np.int32),
        np.array([a.spread for a in actions], np.float32),
        np.array([a.seated for a in actions], np.bool_),
    )


def sample_angles(
    draws: Draws, table: Moves, action: Int[Array, ""], count: int
) -> Float[Array, "count 24"]:
    """Draws poses of an action: degrees, inside the anatomical ranges."""
    edge = jnp.asarray(table.edges)[action, draws.index(jnp.asarray(table.num_edges)[action])]
    start, end = jnp.asarray(table.key_poses)[edge]
    angles = start + draws.uniform(shape=(count, 1)) * (end - start)
    noise = _SPREAD * draws.normal(angles.shape)
    angles = angles + noise * jnp.asarray(table.spread)[action]
    angles = jnp.clip(angles, ANGLE_LIMITS[:, 0], ANGLE_LIMITS[:, 1])
    return jnp.where(draws.chance(0.5), mirror(angles), angles)
