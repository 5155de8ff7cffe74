"""Forward kinematics: joint angles and bone lengths to joint positions.

Axes of a person who stands upright: x to the person's right, y down, z to the front. Lengths are
in metres in the whole renderer, which keeps float32 numbers near 1; records are in mm.

The left side is the mirrored right side: the same angles mean the same pose.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pose3d_jax import skeleton
from pose3d_jax.arrays import AnyArray

_CENTRAL = {
    "root_pitch": (-180, 180, -400, 400), "root_roll": (-180, 180, -400, 400),
    "trunk_flexion": (-25, 75, -50, 80), "trunk_side": (-30, 30, -35, 35),
    "trunk_twist": (-40, 40, -45, 45), "neck_flexion": (-40, 45, -50, 50),
    "neck_side": (-30, 30, -35, 35), "neck_twist": (-60, 60, -70, 70),
}  # fmt: skip
_ARM = {
    "shoulder_plane": (-30, 130, -30, 130), "shoulder_elevation": (-45, 170, -55, 178),
    "shoulder_rotation": (-90, 80, -90, 90), "elbow": (0, 145, 0, 150),
}  # fmt: skip
_LEG = {
    "hip_flexion": (-20, 120, -40, 132), "hip_abduction": (-15, 45, -15, 75),
    "hip_rotation": (-30, 45, -35, 55), "knee": (0, 145, 0, 150),
}  # fmt: skip
#: Every joint angle with its anatomical range, and the range of gymnasts, in degrees. Zero is
#: standing upright with hanging arms. Flexion bends forward (knees: backward); `side` leans and
#: `twist` turns to the person's right; a shoulder's `plane` is the vertical plane of its elevation,
#: 0 in front, 90 sideways (as ISB recommends, which has no gimbal lock near the body); `rotation`
#: is outward, about the limb's own axis. The root's two angles orient the whole body and have no
#: range; gymnasts' may exceed 360°, so that clips can contain somersaults.
_RANGES = _CENTRAL | {
    f"{side}_{name}": ranges
    for limb in (_ARM, _LEG)
    for side in ("right", "left")
    for name, ranges in limb.items()
}
ANGLE_NAMES = tuple(_RANGES)
ANGLE_LIMITS, ATHLETIC_LIMITS = np.hsplit(np.array(list(_RANGES.values()), np.float32), 2)
ANKLE_LIMITS = (-25.0, 45.0)

_TRUNK, _NECK = slice(2, 5), slice(5, 8)
_ARMS, _LEGS = slice(8, 16), slice(16, 24)
#: Right arm, left arm, right leg, left leg.
LIMBS = (slice(8, 12), slice(12, 16), slice(16, 20), slice(20, 24))
#: Sources and signs of the angles of a mirrored pose.
_MIRROR = np.array([*range(8), *range(12, 16), *range(8, 12), *range(20, 24), *range(16, 20)])
_SIGNS = np.float32([-1 if n.endswith(("roll", "side", "twist")) else 1 for n in ANGLE_NAMES])


def mirror(angles: Float[AnyArray, "*batch 24"]) -> Float[AnyArray, "*batch 24"]:
    """The mirrored pose."""
    return _SIGNS * angles[..., _MIRROR]


class Bones(NamedTuple):
    """Bone lengths in metres; both sides of the body share them."""

    shin: Float[Array, ""]
    thigh: Float[Array, ""]
    hip: Float[Array, ""]
    spine: Float[Array, ""]
    head: Float[Array, ""]
    forearm: Float[Array, ""]
    upper_arm: Float[Array, ""]
    shoulder: Float[Array, ""]

    def total(self) -> Float[Array, ""]:
        """The sum of the 14 bones that measure a skeleton's size (Sec. 4.1.2)."""
        paired = self.shin, self.thigh, self.hip, self.forearm, self.upper_arm, self.shoulder
        return self.spine + self.head + 2 * sum(paired)


#: Human3.6M's average person.
CANONICAL_BONES = Bones(*(
    np.float32(length / 1000)
    for length in (
        skeleton.SHIN, skeleton.THIGH, skeleton.HIP, skeleton.SPINE + skeleton.THORAX_NECK,
        skeleton.HEAD, skeleton.FOREARM, skeleton.UPPER_ARM, skeleton.SHOULDER,
    )
))  # fmt: skip
#: Position of the thorax on the line from pelvis (0) to neck (1).
_THORAX_FRACTION = skeleton.SPINE / (skeleton.SPINE + skeleton.THORAX_NECK)


class Figure(NamedTuple):
    """A posed skeleton. Rotations map a segment's axes to the world's; pairs are right, left."""

    joints: Float[Array, "16 3"]
    pelvis: Float[Array, "3 3"]
    chest: Float[Array, "3 3"]
    head: Float[Array, "3 3"]
    upper_arms: Float[Array, "2 3 3"]
    forearms: Float[Array, "2 3 3"]
    thighs: Float[Array, "2 3 3"]
    shins: Float[Array, "2 3 3"]
    feet: Float[Array, "2 3 3"]


def rotation(axis: int, angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    """The right-handed rotation by `angle` (radians) about a coordinate axis."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
    rows = {
        0: [(one, zero, zero), (zero, cos, -sin), (zero, sin, cos)],
        1: [(cos, zero, sin), (zero, one, zero), (-sin, zero, cos)],
        2: [(cos, -sin, zero), (sin, cos, zero), (zero, zero, one)],
    }[axis]
    return jnp.stack([jnp.stack(row) for row in rows])


def _arm(chest, neck, bones, angles, side):
    """Shoulder, elbow, wrist and the rotations of both segments; `side` is +1 right, -1 left."""
    plane, elevation, twist, elbow = angles
    # The shoulder rises with an arm above the horizontal.
    shrug = 0.3 * jnp.maximum(elevation - jnp.deg2rad(60.0), 0) - jnp.deg2rad(27.0)
    shoulder = neck + chest @ rotation(2, -side * shrug) @ jnp.array(
        [side * bones.shoulder, 0.0, 0.0]
    )
    upper = (
        chest @ rotation(1, side * plane) @ rotation(0, elevation)
        @ rotation(1, side * (twist - plane))
    )  # fmt: skip
    fore = upper @ rotation(0, elbow)
    elbow = shoulder + upper[:, 1] * bones.upper_arm
    return shoulder, elbow, elbow + fore[:, 1] * bones.forearm, upper, fore


def _leg(pelvis, root, bones, angles, side):
    """Hip, knee, ankle and the rotations of thigh, shin and foot."""
    flexion, abduction, twist, knee = angles
    hip = root + pelvis @ jnp.array([side * bones.hip, 0.0, 0.0])
    thigh = pelvis @ rotation(0, flexion) @ rotation(2, -side * abduction)
    thigh = thigh @ rotation(1, side * twist)
    shin = thigh @ rotation(0, -knee)
    # The foot is level, within the range of the ankle.
    level = jnp.arctan2(shin[1, 2], shin[1, 1])
    limits = jnp.deg2rad(jnp.array(ANKLE_LIMITS))
    foot = shin @ rotation(0, jnp.clip(level, -limits[1], -limits[0]))
    knee = hip + thigh[:, 1] * bones.thigh
    return hip, knee, knee + shin[:, 1] * bones.shin, thigh, shin, foot


def forward_kinematics(angles: Float[Array, "24"], bones: Bones, yaw: Float[Array, ""]) -> Figure:
    """Poses a skeleton with its pelvis at the origin of a world whose y axis points down.

    Args:
        angles: degrees, in the order of `ANGLE_NAMES`.
        bones: metres.
        yaw: radians about the vertical; at 0 the person faces +z.
    """
    angles = jnp.deg2rad(angles)
    root = jnp.zeros(3, jnp.float32)
    pelvis = rotation(1, yaw) @ rotation(0, -angles[0]) @ rotation(2, angles[1])

    def bend(flexion, side, twist):
        return rotation(0, -flexion) @ rotation(2, side) @ rotation(1, twist)

    chest = pelvis @ bend(*angles[_TRUNK])
    head = chest @ bend(*angles[_NECK])
    neck = root - chest[:, 1] * bones.spine
    thorax = root + _THORAX_FRACTION * (neck - root)
    head_top = neck - head[:, 1] * bones.head

    sides = jnp.array([1.0, -1.0])
    shoulders, elbows, wrists, upper_arms, forearms = jax.vmap(
        _arm, in_axes=(None, None, None, 0, 0)
    )(chest, neck, bones, angles[_ARMS].reshape(2, 4), sides)
    hips, knees, ankles, thighs, shins, feet = jax.vmap(_leg, in_axes=(None, None, None, 0, 0))(
        pelvis, root, bones, angles[_LEGS].reshape(2, 4), sides
    )
    joints = jnp.stack([
        ankles[0], knees[0], hips[0], hips[1], knees[1], ankles[1], root, thorax,
        neck, head_top, wrists[0], elbows[0], shoulders[0], shoulders[1], elbows[1], wrists[1],
    ])  # fmt: skip
    return Figure(joints, pelvis, chest, head, upper_arms, forearms, thighs, shins, feet)
