"""The skeleton: joints, bones, groups, mirror pairs and canonical lengths. Numbers only.

Joints are MPII's sixteen, 0-based; "left" and "right" are the person's own. Lengths are in
millimetres, averages over the training subjects of Human3.6M (Sec. 3.3 of the paper).
"""

import numpy as np

JOINT_NAMES = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
NUM_JOINTS = len(JOINT_NAMES)
PELVIS, THORAX, NECK, HEAD_TOP = 6, 7, 8, 9
RIGHT_HIP, LEFT_HIP = 2, 3
RIGHT_SHOULDER, LEFT_SHOULDER = 12, 13
ROOT = PELVIS

#: `joints[..., MIRROR_ORDER, :]` exchanges left and right.
MIRROR_ORDER = np.array([5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10])

#: The 14 bones whose summed length is a skeleton's size (Sec. 4.1.2). None contains the thorax (7).
BONES = np.array([
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (10, 11),
    (11, 12), (12, 8), (8, 13), (13, 14), (14, 15), (6, 8), (8, 9),
], np.int32)  # fmt: skip

#: `AvgSumLen` of Sec. 4.1.2 in mm: the mean sum of the 14 bones over Human3.6M's training
#: subjects. It exceeds the sum of `BONE_LENGTHS` by 100 mm, because the two come from different
#: joint definitions. Human3.6M is scored with this value.
HUMAN36M_BONE_LENGTH_SUM = 4296.99233013

#: Canonical bone lengths l̄_e in mm.
SHIN = 452.125519758
THIGH = 456.008604234
HIP = 134.201602044
SPINE = 421.517337247
THORAX_NECK = 77.938555657
HEAD = 182.550526846
FOREARM = 249.772589249
UPPER_ARM = 284.125346475
SHOULDER = 180.776851782
#: In the order of `BONES`.
BONE_LENGTHS = np.array([
    SHIN, THIGH, HIP, HIP, THIGH, SHIN, FOREARM,
    UPPER_ARM, SHOULDER, SHOULDER, UPPER_ARM, FOREARM, SPINE + THORAX_NECK, HEAD,
])  # fmt: skip

#: The groups R_i of Eq. 3, and the weights 1 / l̄_e of their bones in units of the group's longest
#: bone. The released code scales them this way, and λ_geo = 0.01 was tuned with it.
BONE_GROUPS = {
    "leg": ((0, 1), (1, 2), (3, 4), (4, 5)),
    "arm": ((10, 11), (11, 12), (13, 14), (14, 15)),
    "hip": ((2, 6), (3, 6)),
    "shoulder": ((12, 8), (13, 8)),
}
BONE_GROUP_WEIGHTS = {
    "leg": (THIGH / SHIN, 1.0, 1.0, THIGH / SHIN),
    "arm": (UPPER_ARM / FOREARM, 1.0, 1.0, UPPER_ARM / FOREARM),
    "hip": (1.0, 1.0),
    "shoulder": (1.0, 1.0),
}

#: Limbs of Table 4: ((right bone), (left bone)).
SYMMETRIC_LIMBS = {
    "upper arm": ((11, 12), (13, 14)),
    "lower arm": ((10, 11), (14, 15)),
    "upper leg": ((1, 2), (3, 4)),
    "lower leg": ((0, 1), (4, 5)),
}

#: Joint groups of the PCKh tables. The mean excludes pelvis and thorax.
PCKH_GROUPS = {
    "head": (9,),
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
