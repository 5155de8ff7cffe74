"""The paper's losses, Eqs. 1–4, as pure functions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pose3d_jax import geometry
from pose3d_jax.arrays import AnyArray
from pose3d_jax.skeleton import BONE_GROUP_WEIGHTS, BONE_GROUPS


def heatmap_loss(
    predicted: Sequence[Float[AnyArray, "b h w joints"]],
    target: Float[AnyArray, "b h w joints"],
    counted: Bool[AnyArray, "b joints"] | None = None,
) -> Float[Array, ""]:
    """Eq. 1 as released: mean squared error over batch, joints and pixels, summed over stacks.

    Args:
        predicted: heat-maps of each stack.
        target: heat-maps; zero for joints without annotation.
        counted: joints whose maps are compared; the error of the others is 0. None compares all,
            as the release does: unlabelled joints then have an empty target map.

    >>> target = np.zeros((1, 64, 64, 16))
    >>> float(heatmap_loss([target + 1.0, target + 2.0], target))  # Two stacks.
    5.0
    """
    if counted is None:
        return sum(jnp.mean((maps - target) ** 2) for maps in predicted)
    compared = counted[:, None, None, :]
    return sum(jnp.mean(jnp.where(compared, maps - target, 0.0) ** 2) for maps in predicted)


def _padded_groups() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bone groups as (groups, bones, 2) joints, (groups, bones) weights and mask."""
    longest = max(len(bones) for bones in BONE_GROUPS.values())
    joints = np.zeros((len(BONE_GROUPS), longest, 2), np.int32)
    weights = np.zeros((len(BONE_GROUPS), longest))
    for row, (name, bones) in enumerate(BONE_GROUPS.items()):
        joints[row, : len(bones)] = bones
        weights[row, : len(bones)] = BONE_GROUP_WEIGHTS[name]
    return joints, weights, weights > 0


def group_variance(
    pose: Float[AnyArray, "16 3"],
    valid: Bool[AnyArray, "16"],
    bones: Int[AnyArray, "bones 2"],
    weights: Float[AnyArray, "bones"],
    mask: Bool[AnyArray, "bones"],
) -> Float[Array, ""]:
    """One group's term of Eq. 3: the variance of l_e / l̄_e over its bones.

    Args:
        pose: joints, normalised.
        valid: annotated joints; bones with an unlabelled end are left out.
        bones: joint pairs, padded.
        weights: 1 / l̄_e.
        mask: False for rows of `bones` that are padding.

    Returns:
        The variance over the remaining bones; 0 if there are none.

    >>> pose = np.zeros((16, 3))
    >>> pose[0, 0], pose[5, 0] = 1.0, 3.0  # Shins of length 1 and 3: each 1 from their mean.
    >>> shins = np.array([(0, 1), (5, 4)])
    >>> float(group_variance(pose, np.ones(16, bool), shins, np.ones(2), np.ones(2, bool)))
    1.0
    """
    used = mask & valid[bones].all(-1)
    ratios = geometry.norm(pose[bones[:, 0]] - pose[bones[:, 1]]) * weights
    count = jnp.maximum(used.sum(dtype=ratios.dtype), 1)
    mean = jnp.where(used, ratios, 0.0).sum() / count
    return jnp.where(used, (ratios - mean) ** 2, 0.0).sum() / count


@jax.jit
def geometric_loss(
    joints_xy: Float[AnyArray, "b 16 2"],
    depth: Float[AnyArray, "b 16"],
    valid: Bool[AnyArray, "b 16"],
) -> Float[Array, "b"]:
    """L_geo of Eq. 3: the variance of the bone-length ratios inside each group.

    It uses the *labelled* 2D joints, so that no gradient reaches the 2D module (Sec. 3.3). It has
    a degenerate minimum: equal, large depth differences along all limb bones make all ratios
    equal. A decreasing loss alone is no evidence of better poses; the bone-length sum shows the
    collapse.

    Args:
        joints_xy: labelled joints, normalised to [−1, 1].
        depth: predicted depths, in the same unit.
        valid: annotated joints.

    Returns:
        The sum of the groups' variances for each image.

    >>> joints, valid = np.zeros((1, 16, 2)), np.ones((1, 16), bool)
    >>> geometric_loss(joints, np.zeros((1, 16)), valid)  # All bones have length 0.
    Array([0.], dtype=float32)
    """
    joints, weights, mask = _padded_groups()
    weights = jnp.asarray(weights, depth.dtype)
    pose = jnp.concatenate([joints_xy, depth[..., None]], axis=-1)
    over_groups = jax.vmap(group_variance, in_axes=(None, None, 0, 0, 0))
    over_batch = jax.vmap(over_groups, in_axes=(0, 0, None, None, None))
    return over_batch(pose, valid, joints, weights, mask).sum(-1)


def depth_loss(
    depth: Float[AnyArray, "b 16"],
    target_depth: Float[AnyArray, "b 16"],
    joints_xy: Float[AnyArray, "b 16 2"],
    valid: Bool[AnyArray, "b 16"],
    has_3d: Bool[AnyArray, "b"],
    lambda_reg: Float[AnyArray, ""] | float,
    lambda_geo: Float[AnyArray, ""] | float,
    *,
    geometric_on_3d: bool = False,
) -> Float[Array, ""]:
    """L_dep of Eq. 2: regression for images with depth labels, the geometric loss for others.

    Args:
        depth: predicted depths, normalised.
        target_depth: labels, normalised; used only where `has_3d`.
        joints_xy: labelled 2D joints, normalised.
        valid: annotated joints. The squared error is averaged over all 16 joints, as released;
            an unannotated one counts 0.
        has_3d: which images have depth labels.
        lambda_reg: weight of the regression.
        lambda_geo: weight of the geometric loss.
        geometric_on_3d: add the geometric loss for images with depth labels as well, as in the
            baseline 3D/w geo of Sec. 4.1.3.

    Returns:
        The mean over the batch.

    >>> depth, joints, valid = np.zeros((2, 16)), np.zeros((2, 16, 2)), np.ones((2, 16), bool)
    >>> has_3d = np.array([True, False])  # A lab image, 0.5 off, and a wild one.
    >>> f"{depth_loss(depth, depth + 0.5, joints, valid, has_3d, 0.1, 0.01):.4f}"  # 0.1 · 0.25 / 2
    '0.0125'
    """
    labelled = valid & has_3d[:, None]
    regression = jnp.mean(jnp.where(labelled, depth - target_depth, 0.0) ** 2, axis=-1)
    geometric = geometric_loss(joints_xy, depth, valid)
    takes_geometric = ~has_3d | geometric_on_3d
    per_image = lambda_reg * regression + jnp.where(takes_geometric, lambda_geo * geometric, 0.0)
    return per_image.mean()
