"""Skeletons as arrays: coordinates, units, bone lengths, and alignment.

There are three coordinate systems. *Crop pixels*: continuous, x right, y down, in the network's
input. *Normalised*: 2 x / side − 1, so that the crop is [−1, 1]²; depth has the same unit, is
relative to the root, and increases away from the camera. *Millimetres*: camera axes (x right,
y down, z forward), relative to the root.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pose3d_jax.arrays import AnyArray
from pose3d_jax.skeleton import BONE_LENGTHS, BONES, ROOT

#: Accelerators multiply float32 matrices with 10 bits of mantissa (TF32) by default. Networks
#: tolerate this; coordinates would be off by a quarter of a pixel, or half a millimetre.
full_precision = jax.default_matmul_precision("highest")


def norm(x: Float[AnyArray, "*batch d"]) -> Float[Array, "*batch"]:
    """Euclidean length along the last axis, with gradient 0 instead of NaN at length 0."""
    squared = jnp.sum(x * x, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def normalise(joints: Float[AnyArray, "*batch 2"], side: float) -> Float[AnyArray, "*batch 2"]:
    """Crop pixels to normalised coordinates."""
    return 2.0 * joints / side - 1.0


def bone_lengths(joints: Float[AnyArray, "*batch 16 d"]) -> Float[Array, "*batch 14"]:
    """Lengths of the 14 bones of `skeleton.BONES`, in the joints' unit (2D or 3D)."""
    return norm(joints[..., BONES[:, 0], :] - joints[..., BONES[:, 1], :])


def annotated_bones(valid: Bool[AnyArray, "*batch 16"]) -> Bool[AnyArray, "*batch 14"]:
    """Which of the 14 bones have both ends annotated."""
    return valid[..., BONES].all(-1)


def bone_length_sum(
    joints: Float[AnyArray, "*batch 16 d"], valid: Bool[AnyArray, "*batch 16"] | None = None
) -> Float[Array, "*batch"]:
    """A skeleton's size: the sum of its 14 bones (`SumLen` in Sec. 4.1.2).

    Args:
        joints: 2D or 3D, in any unit.
        valid: annotated joints, all by default; bones with an unannotated end are left out.
    """
    lengths = bone_lengths(joints)
    return (lengths if valid is None else jnp.where(annotated_bones(valid), lengths, 0.0)).sum(-1)


def relative_to_root(joints: Float[AnyArray, "*batch 16 d"]) -> Float[AnyArray, "*batch 16 d"]:
    """Joints relative to the pelvis."""
    return joints - joints[..., ROOT : ROOT + 1, :]


def weak_perspective_scale(
    joints_px: Float[AnyArray, "*batch 16 2"],
    joints_mm: Float[AnyArray, "*batch 16 3"],
    valid: Bool[AnyArray, "*batch 16"],
) -> Float[Array, "*batch"]:
    """The scale k of weak perspective, px per mm (Sec. 4.1.2, "aligning the 3D and 2D poses").

    The ratio of the summed bone lengths in the image to those of the 3D bones projected along z.

    Args:
        joints_px: 2D joints, px.
        joints_mm: 3D joints, camera frame, mm.
        valid: joints annotated in the image; both sums run over the bones between them.
    """
    projected = bone_length_sum(joints_mm[..., :2], valid)
    return bone_length_sum(joints_px, valid) / jnp.where(projected > 0, projected, 1.0)


def weak_perspective(
    joints_px: Float[AnyArray, "*batch 16 2"],
    joints_mm: Float[AnyArray, "*batch 16 3"],
    valid: Bool[AnyArray, "*batch 16"],
) -> Float[Array, "*batch 16 2"]:
    """Projects a 3D pose into its image by weak perspective: root + k · (XY − XY_root), px.

    In the true projection, nearer parts are larger. These positions are the x and y of the pose
    itself: together with `depth_target` they equal the pose, scaled by k.

    Args:
        joints_px: the true projection, px; determines the position of the root and the scale k.
        joints_mm: 3D joints, camera frame, mm.
        valid: joints annotated in the image, among them the root.
    """
    scale = weak_perspective_scale(joints_px, joints_mm, valid)
    root = joints_px[..., ROOT : ROOT + 1, :]
    return root + scale[..., None, None] * relative_to_root(joints_mm)[..., :2]


def depth_target(
    joints_crop: Float[AnyArray, "*batch 16 2"],
    joints_mm: Float[AnyArray, "*batch 16 3"],
    side: float,
    valid: Bool[AnyArray, "*batch 16"],
) -> Float[Array, "*batch 16"]:
    """The depth label of a 3D-labelled image, in normalised units.

    Args:
        joints_crop: 2D joints, crop px.
        joints_mm: 3D joints, camera frame, mm.
        side: of the crop, px.
        valid: see `weak_perspective_scale`.

    Returns:
        (z − z_root) · k · 2 / side; zeros where the 3D joints are all zero.
    """
    scale = weak_perspective_scale(joints_crop, joints_mm, valid)
    return relative_to_root(joints_mm)[..., 2] * scale[..., None] * (2.0 / side)


def to_millimetres(
    joints_crop: Float[AnyArray, "*batch 16 2"],
    depth: Float[AnyArray, "*batch 16"],
    side: float,
    skeleton_size: Float[AnyArray, "*batch"] | float,
    valid: Bool[AnyArray, "*batch 16"] | None = None,
) -> Float[AnyArray, "*batch 16 3"]:
    """Converts the network's output to a root-relative pose in mm (Sec. 4.1.2).

    An image does not determine a person's size. The pose is scaled so that its 14 bones sum to
    `skeleton_size`. Bones with an unannotated end are left out; the others then sum to their share
    of it in the canonical skeleton.

    Args:
        joints_crop: predicted 2D joints, crop px.
        depth: predicted depths, normalised.
        side: of the crop, px.
        skeleton_size: `AvgSumLen` of the data set, or the person's own bone-length sum, mm.
        valid: joints with a position; all by default.
    """
    pose = relative_to_root(
        jnp.concatenate([joints_crop, depth[..., None] * (side / 2.0)], axis=-1)
    )
    size = bone_length_sum(pose, valid)
    if valid is not None:
        share = jnp.where(annotated_bones(valid), BONE_LENGTHS, 0.0).sum(-1) / BONE_LENGTHS.sum()
        skeleton_size = skeleton_size * share
    scale = skeleton_size / jnp.where(size > 0, size, 1.0)
    return pose * scale[..., None, None]


def to_camera(
    joints_px: Float[AnyArray, "*batch 16 2"],
    joints_mm: Float[AnyArray, "*batch 16 3"],
    intrinsics: Float[AnyArray, "4"],
    weight: Float[AnyArray, "*batch 16"] | None = None,
) -> Float[Array, "*batch 16 3"]:
    """The position of a root-relative pose in front of a camera with known intrinsics.

    The translation t minimises the squared distances in mm between the translated joints and the
    rays of their pixels: X + t_x = u (Z + t_z), and likewise for y, are linear in t and have a
    solution in closed form. A pose of weak perspective has its x and y from the image, without the
    effect of depth on them. So the joints are then moved along their depth plane onto the rays, and
    the result is scaled about the camera to the bone-length sum of `joints_mm`. It projects to
    `joints_px`, and an exact pose is returned exactly.

    Args:
        joints_px: 2D joints, px of the image.
        joints_mm: pose relative to the root, mm, camera axes; its size determines the distance.
        intrinsics: focal lengths and principal point (fx, fy, cx, cy), px.
        weight: of each joint in the fit, such as its confidence; equal by default.

    Returns:
        Joints in camera coordinates, mm.
    """
    focal, centre = intrinsics[:2], intrinsics[2:]
    rays = (joints_px - centre) / focal
    depth = joints_mm[..., 2:]
    weight = jnp.ones_like(depth) if weight is None else weight[..., None]
    weight = weight / weight.sum(-2, keepdims=True)
    # Eliminates t_x and t_y by subtracting the means.
    offset = rays * depth - joints_mm[..., :2]
    centred_offset = offset - (weight * offset).sum(-2, keepdims=True)
    centred_rays = rays - (weight * rays).sum(-2, keepdims=True)
    area = (weight * centred_rays**2).sum((-1, -2), keepdims=True)
    product = (weight * centred_offset * centred_rays).sum((-1, -2), keepdims=True)
    depth = depth - product / jnp.where(area > 0, area, 1.0)
    joints = jnp.concatenate([rays * depth, depth], axis=-1)
    size = bone_length_sum(joints)
    scale = bone_length_sum(joints_mm) / jnp.where(size > 0, size, 1.0)
    return joints * scale[..., None, None]


@full_precision
def similarity_align(
    pose: Float[AnyArray, "*batch 16 3"],
    target: Float[AnyArray, "*batch 16 3"],
    valid: Bool[AnyArray, "*batch 16"],
) -> Float[Array, "*batch 16 3"]:
    """Aligns `pose` to `target` by the best translation, rotation and scale, without reflection.

    The least-squares solution of Umeyama (1991) over the valid joints, as used by PA-MPJPE.
    """
    weight = valid[..., None].astype(pose.dtype)
    count = jnp.maximum(weight.sum(-2, keepdims=True), 1.0)
    pose_mean = (pose * weight).sum(-2, keepdims=True) / count
    target_mean = (target * weight).sum(-2, keepdims=True) / count
    source = (pose - pose_mean) * weight
    goal = (target - target_mean) * weight
    u, singular, vt = jnp.linalg.svd(jnp.swapaxes(source, -1, -2) @ goal, full_matrices=False)
    # Negating the smallest singular value gives the best rotation instead of a reflection.
    sign = jnp.where(jnp.linalg.det(u @ vt) < 0, -1.0, 1.0)
    flip = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign], axis=-1)
    rotation = (u * flip[..., None, :]) @ vt
    variance = (source**2).sum((-1, -2))
    scale = (singular * flip).sum(-1) / jnp.where(variance > 0, variance, 1.0)
    return (pose - pose_mean) @ rotation * scale[..., None, None] + target_mean


def scale_align(
    pose: Float[AnyArray, "*batch 16 3"],
    target: Float[AnyArray, "*batch 16 3"],
    valid: Bool[AnyArray, "*batch 16"],
) -> Float[Array, "*batch 16 3"]:
    """Scales a root-relative `pose` onto a root-relative `target` in the least-squares sense."""
    weight = valid[..., None].astype(pose.dtype)
    product = (pose * target * weight).sum((-1, -2))
    square = (pose * pose * weight).sum((-1, -2))
    return pose * (product / jnp.where(square > 0, square, 1.0))[..., None, None]


@full_precision
def invert_affine(matrix: Float[AnyArray, "*batch 2 3"]) -> Float[Array, "*batch 2 3"]:
    """The inverse of an affine map of the plane."""
    linear = jnp.linalg.inv(matrix[..., :2])
    return jnp.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


@full_precision
def apply_affine(
    matrix: Float[AnyArray, "*batch 2 3"], points: Float[AnyArray, "*batch n 2"]
) -> Float[Array, "*batch n 2"]:
    """Applies an affine map to points of the plane."""
    return points @ jnp.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]
