"""The vocabulary of poses: named arms and legs, and the clips and actions made of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pose3d_jax.arrays import AnyArray
from tfds_builders.synthetic.kinematics import MIRROR_ANGLES, MIRROR_SIGNS

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
    "up": (70, 170, 0, 4),
    "vee": (70, 135, 10, 8),
    "tee": (88, 88, 0, 6),
    "forward": (12, 88, 0, 6),
    "down": (60, 16, 0, 5),
    "back": (-22, -45, 0, 6),
    "racer_front": (28, 36, -14, 100),
    "racer_back": (-28, -42, 0, 85),
    "set": (45, 125, 20, 75),
    "dig": (-16, 55, 0, 8),
    "cock": (98, 92, 78, 95),
    "release": (25, 105, 15, 20),
    "follow": (-22, 50, -25, 25),
    "scratch": (88, 105, 80, 135),
    "backswing": (118, 58, 25, 35),
    "backhand": (-20, 62, -45, 60),
    "bat_rear": (70, 62, -25, 125),
    "bat_lead": (-12, 70, -35, 85),
    "bat_front": (-14, 68, 0, 18),
    "hug": (18, 55, -55, 70),
    "guard": (25, 45, -25, 128),
    "ring": (55, 145, 25, 60),
    "climb": (35, 140, 15, 45),
    "shot": (80, 75, 20, 140),
    "heel": (-25, -38, 0, 35),
    "prone_press": (80, 60, 10, 120),
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
    "straight": (0, 2, 4, 2),
    "arch": (-18, 5, 5, 12),
    "sprint": (92, 3, 0, 108),
    "drive": (-20, 3, 4, 14),
    "recover": (-6, 3, 2, 115),
    "hurdle_lead": (98, 3, 0, 18),
    "hurdle_trail": (62, 68, 20, 105),
    "split": (96, 4, 4, 3),
    "split_rear": (-34, 4, 6, 8),
    "straddle": (45, 62, 20, 3),
    "straddle_sit": (92, 52, 25, 3),
    "sideways": (5, 48, 12, 4),
    "pike": (112, 4, 3, 4),
    "tuck": (126, 9, 4, 138),
    "stag": (86, 8, 10, 112),
    "attitude": (-28, 20, 20, 65),
    "high": (122, 14, 6, 8),
    "side_kick": (70, 62, -10, 14),
    "side_lunge": (78, 42, 25, 100),
    "wide_squat": (92, 38, 28, 100),
    "ready": (48, 20, 12, 56),
    "landing": (96, 14, 10, 104),
    "start_front": (116, 4, 2, 104),
    "start_rear": (82, 4, 2, 108),
    "wind_up": (100, 12, 0, 95),
    "stride": (62, 14, 20, 30),
    "cat": (92, 18, 16, 108),
    "quad": (-12, 3, 3, 132),
    "butterfly": (92, 42, 52, 118),
    "tree": (62, 42, 50, 128),
    "table": (-2, 10, 6, 86),
    "folded": (118, 14, 6, 138),
    "hinge": (78, 6, 6, 6),
    "kick_back": (-26, 6, 4, 85),
}


def pose(arms: str, legs: str, trunk=(3, 0, 0), neck=(5, 0, 0), root=(0, 0)) -> np.ndarray:
    """Angles of a key pose; `arms` and `legs` are "right left", or one name for both sides."""
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
    """The mirrored pose."""
    return MIRROR_SIGNS * angles[..., MIRROR_ANGLES]


def gait(strike: np.ndarray, swing: np.ndarray) -> list[np.ndarray]:
    """A whole gait cycle from its first half."""
    return [strike, swing, mirror(strike), mirror(swing)]


WALK = gait(
    pose("swing_back swing_front", "strike push", trunk=(4, 0, -6)),
    pose("hang", "stance swing", trunk=(4, 0, 0)),
)
RUN = gait(
    pose("swing_back chest", "run trail", trunk=(10, 0, -8), neck=(-5, 0, 0), root=(6, 0)),
    pose("waist chest", "stance run", trunk=(8, 0, 0), root=(5, 0)),
)


class Action(NamedTuple):
    """One action: its clips, a factor on their noise, and whether the person sits on something.

    `lift` is the maximum height above the floor in metres, for jumping and hanging.
    """

    clips: list[list[np.ndarray]]
    spread: float = 1.0
    seated: bool = False
    lift: float = 0.0
