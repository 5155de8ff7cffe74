"""Published results on the same data sets: Tables 1–4 of the paper.

For Leeds Sports Pose, those of Convolutional Pose Machines (Wei et al., CVPR 2016).
"""

from collections.abc import Mapping, Sequence

from pose3d_jax.stages import METHODS

#: Table → row → column → number.
Tables = Mapping[str, Mapping[str, Mapping[str, float]]]

#: What in the preset `paper` is known to differ from the release's training and evaluation.
#: docs/paper-preset.md has the whole comparison.
KNOWN_DIFFERENCES = (
    "Batches are half lab and half wild; the release draws every image from either at random.",
    "Running variances are biased (over N); the release's are unbiased (over N - 1).",
    "Depths are relative to the pelvis; the release's to joint 7, which no metric uses. In both, "
    "joint 7 is scored as the midpoint of pelvis and neck against Human3.6M's spine.",
    "No flip: every image is predicted once (pose3d_jax.evaluate --flip averages two).",
)


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[float]]):
    return {name: dict(zip(columns, row, strict=True)) for name, row in rows.items()}


_ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases",
    "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkPair", "all",
)  # fmt: skip
#: MPJPE in mm on Human3.6M, by action. "all" is the mean over the images.
_TABLE_1 = {
    "Chen & Ramanan": (
        89.87, 97.57, 89.98, 107.87, 107.31, 139.17, 93.56, 136.09,
        133.14, 240.12, 106.65, 106.21, 87.03, 114.05, 90.55, 114.18,
    ),
    "Tome et al.": (
        64.98, 73.47, 76.82, 86.43, 86.28, 110.67, 68.93, 74.79,
        110.19, 172.91, 84.95, 85.78, 86.26, 71.36, 73.14, 88.39,
    ),
    "Zhou et al.": (
        87.36, 109.31, 87.05, 103.16, 116.18, 143.32, 106.88, 99.78,
        124.52, 199.23, 107.42, 118.09, 114.23, 79.39, 97.70, 79.9,
    ),
    "Mehta et al.": (
        59.69, 69.74, 60.55, 68.77, 76.36, 85.42, 59.05, 75.04,
        96.19, 122.92, 70.82, 68.45, 54.41, 82.03, 59.79, 74.14,
    ),
    "Pavlakos et al.": (
        58.55, 64.56, 63.66, 62.43, 66.93, 70.74, 57.72, 62.51,
        76.84, 103.48, 65.73, 61.56, 67.55, 56.38, 59.47, 66.92,
    ),
    METHODS[0]: (
        73.25, 79.17, 72.35, 83.90, 80.25, 81.86, 69.77, 72.74,
        98.41, 141.60, 80.01, 86.31, 61.89, 76.32, 71.47, 82.44,
    ),
    METHODS[1]: (
        72.29, 77.15, 72.60, 81.08, 80.81, 77.38, 68.30, 72.85,
        93.52, 131.75, 79.61, 85.10, 67.49, 76.95, 71.99, 80.98,
    ),
    METHODS[2]: (
        55.17, 61.16, 58.12, 71.75, 62.54, 67.29, 54.81, 56.38,
        74.79, 113.99, 64.34, 68.78, 52.22, 63.97, 57.31, 65.69,
    ),
    METHODS[3]: (
        54.82, 60.70, 58.22, 71.41, 62.03, 65.53, 53.83, 55.58,
        75.20, 111.59, 64.15, 66.05, 51.43, 63.22, 55.33, 64.90,
    ),
}  # fmt: skip

HUMAN36M: Tables = {
    "table1": _table(_ACTIONS, _TABLE_1),
    #: PCKh@0.5, %.
    "table2": {name: {"mean": value} for name, value in zip(METHODS, (90.01, 90.57, 90.93, 91.62))},
}
_LIMBS = ("upper arm", "lower arm", "upper leg", "lower leg")
MPI_INF_3DHP: Tables = {
    #: 3DPCK by scene, and AUC, %.
    "table3": _table(
        ("Studio GS", "Studio no GS", "Outdoor", "all", "AUC"),
        {
            "Mehta et al. (H36M+MPII)": (70.8, 62.3, 58.8, 64.7, 31.7),
            METHODS[0]: (34.4, 40.8, 13.6, 31.5, 18.0),
            METHODS[1]: (45.6, 45.1, 14.4, 37.7, 20.9),
            METHODS[2]: (68.8, 61.2, 67.5, 65.8, 32.1),
            METHODS[3]: (71.1, 64.7, 72.7, 69.2, 32.5),
            "Mehta et al. (MPI-INF-3DHP)": (84.1, 68.9, 59.6, 72.5, 36.9),
        },
    ),
    #: Left-right differences, mm.
    "table4": _table(
        _LIMBS, {METHODS[2]: (42.4, 60.4, 43.5, 59.4), METHODS[3]: (37.8, 50.7, 43.4, 47.8)}
    ),
}
#: Left-right differences, px of a crop of 256.
MPII: Tables = {
    "table4": _table(
        _LIMBS, {METHODS[2]: (6.27, 10.11, 6.89, 8.03), METHODS[3]: (4.80, 6.64, 4.93, 6.22)}
    )
}
#: Mean PCK@0.2 in percent, the head's joints included.
LSP: Tables = {
    "pck": {
        "Wei et al., trained on LSP and its extension": {"mean with head": 84.3},
        "Wei et al., trained on MPII too": {"mean with head": 90.5},
    }
}
