"""Writes `corrections.npz` from the predictions of a teacher network; see `corrections`.

    python -m tfds_builders.lsp.make_corrections --manual_dir DIR --teacher teacher.npz

`teacher.npz` holds `image_id` (`lspet_00001` …), `joints` (n, 16, 2), px of the photograph, in the
order of `skeleton.JOINT_NAMES`, NaN where the teacher has no such joint, and `confidence` (n, 16).

The rules, for the twelve limb joints. Distances are in torsos (left shoulder to right hip, at least
a quarter of the person's extent).

1. Left and right of a limb chain (a whole arm or leg, or its last one or two joints) are exchanged
   where that lowers the disagreement with confident answers clearly.
2. A label further than `FAR` from an answer of confidence `SURE` is replaced by the answer. On
   people tilted by more than 60°, where the teacher is weak, it is dropped instead.
3. A label further than `FAR_DOUBTFUL` from an answer of confidence `DOUBTFUL` is dropped.
4. A joint without a label takes an answer of confidence `VERY_SURE`.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from pose3d_jax.skeleton import MIRROR_ORDER
from tfds_builders.lsp.annotations import JOINTS, find_release, read_joints
from tfds_builders.lsp.corrections import CORRECTIONS, DROP, KEEP, PARTS, REPLACE

VERY_SURE, SURE, DOUBTFUL = 0.8, 0.7, 0.5
FAR, FAR_DOUBTFUL = 0.3, 0.5
#: Disagreement of one joint counts up to this many torsos.
CUT = 0.5
#: Minimum gain of an exchange, in joints that disagree fully.
GAIN = 0.8
#: Right limb chains from the end, as LSP's joints; the left ones mirror them.
_ARM, _LEG = (6, 7, 8), (0, 1, 2)


def mirror_order() -> Int[np.ndarray, "14"]:
    """The order of LSP's 14 joints with left and right exchanged."""
    order = list(JOINTS)
    return np.array([order.index(MIRROR_ORDER[joint]) for joint in order])


def torso(person: Float[np.ndarray, "14 3"]) -> float:
    """Unit of length of a person, px: left shoulder (9) to right hip (2)."""
    labelled = person[:, 2] > 0
    extent = np.ptp(person[labelled, :2], axis=0).max()
    length = np.linalg.norm(person[9, :2] - person[2, :2]) if labelled[[2, 9]].all() else 0.0
    return max(length, extent / 4)


def is_tilted(joints: Float[np.ndarray, "14 2"]) -> bool:
    """Whether a person's trunk is more than 60° from upright."""
    x, y = joints[[8, 9]].mean(0) - joints[[2, 3]].mean(0)
    return not -y > 0.5 * np.hypot(x, y)


def exchange(
    person: Float[np.ndarray, "14 3"],
    answer: Float[np.ndarray, "14 2"],
    confidence: Float[np.ndarray, "14"],
    unit: float,
) -> Int[np.ndarray, "14"]:
    """The joint whose label each joint takes, after rule 1."""
    source, mirror = np.arange(14), mirror_order()

    def cost(order, joints):
        taken = person[order][joints]
        counted = (taken[:, 2] > 0) & (confidence[joints] >= DOUBTFUL)
        apart = np.linalg.norm(taken[:, :2] - answer[joints], axis=-1) / unit
        return (confidence[joints] * np.minimum(apart / CUT, 1.0))[counted].sum()

    for chain in (_ARM, _LEG):
        limb = np.array([*chain, *mirror[list(chain)]])
        best, least = source, cost(source, limb)
        for size in (3, 2, 1):
            changed = np.array([*chain[:size], *mirror[list(chain[:size])]])
            order = source.copy()
            order[changed] = mirror[changed]
            if (found := cost(order, limb)) < least - GAIN:
                best, least = order, found + 0.1  # A larger exchange is preferred to a smaller one.
        source = best
    return source


def correct_person(
    person: Float[np.ndarray, "14 3"],
    answer: Float[np.ndarray, "14 2"],
    confidence: Float[np.ndarray, "14"],
) -> tuple[Int[np.ndarray, "14"], Int[np.ndarray, "14"]]:
    """Codes and sources of one person.

    Args:
        person: x, y and labelled, in MATLAB's coordinates.
        answer: the teacher's, in the same coordinates.
        confidence: the teacher's; 0 where it has no such joint.
    """
    unit = torso(person)
    source = exchange(person, answer, confidence, unit)
    taken = person[source]
    labelled = taken[:, 2] > 0
    apart = np.linalg.norm(taken[:, :2] - answer, axis=-1) / unit
    tilted = is_tilted(answer)
    code = np.full(14, KEEP)
    code[labelled & (confidence >= DOUBTFUL) & (apart > FAR_DOUBTFUL)] = DROP
    code[labelled & (confidence >= SURE) & (apart > FAR)] = DROP if tilted else REPLACE
    if not tilted:
        code[~labelled & (confidence >= VERY_SURE)] = REPLACE
    return code, source


def read_teacher(
    path: Path, count: int
) -> tuple[
    Float[np.ndarray, "people 14 2"], Float[np.ndarray, "people 14"], Bool[np.ndarray, "people"]
]:
    """The teacher's answers for the extension's photographs, in MATLAB's coordinates.

    Returns:
        Positions, confidences, and for which photographs there are any.
    """
    stored = np.load(path)
    joints, confidence = np.zeros((count, 14, 2)), np.zeros((count, 14))
    known = np.zeros(count, bool)
    for name, answer, sure in zip(stored["image_id"], stored["joints"], stored["confidence"]):
        dataset, _, number = str(name).partition("_")
        if dataset == "lspet":
            row = int(number) - 1
            joints[row] = np.nan_to_num(answer[list(JOINTS)]) + 0.5
            confidence[row], known[row] = sure[list(JOINTS)], True
    return joints, confidence, known


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--manual_dir", type=Path, required=True, help="as for `prepare lsp`")
    parser.add_argument("--teacher", type=Path, required=True, help="the teacher's answers, .npz")
    parser.add_argument("--out", type=Path, default=CORRECTIONS)
    chosen = parser.parse_args()
    people = read_joints(find_release(chosen.manual_dir, "lspet_dataset"), extended=True)
    answers, confidence, known = read_teacher(chosen.teacher, len(people))
    rows = np.flatnonzero(known & (people[..., 2].sum(1) > 0))
    codes, sources = (
        np.array(part)
        for part in zip(*(correct_person(people[i], answers[i], confidence[i]) for i in rows))
    )
    changed = ((codes != KEEP) | (sources != np.arange(14))).any(1)
    rows, codes, sources = rows[changed], codes[changed], sources[changed]
    np.savez_compressed(
        chosen.out,
        number=(rows + 1).astype(np.uint16),
        code=codes.astype(np.uint8),
        source=sources.astype(np.uint8),
        position=np.round(answers[rows][codes == REPLACE] * PARTS).astype(np.int16),
    )
    labelled = people[..., 2].sum()
    print(
        f"{chosen.out}: {len(rows):,} of {known.sum():,} people; of {labelled:,.0f} labels "
        f"{(sources != np.arange(14)).sum():,} exchanged, {(codes == DROP).sum():,} dropped, "
        f"{(codes == REPLACE).sum():,} replaced or added"
    )


if __name__ == "__main__":
    main()
