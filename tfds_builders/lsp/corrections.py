"""Corrections of the extension's labels (configuration `lsp/corrected`).

A crowd labelled the Leeds Sports Pose extension: about 16 % of its limb joints are wrong, half of
them left-right exchanges. `corrections.npz` has corrections from the predictions of MoveNet
SinglePose Thunder (Google, Apache-2.0), so that the network itself is not needed:

- `number` (n,): photographs of the extension, from 1.
- `code` (n, 14): 0 keeps a label, 1 drops it, 2 replaces it (or adds one that is missing).
- `source` (n, 14): the joint whose label is taken first; not the joint itself where left and right
  are exchanged.
- `position` (m, 2): tenths of px in MATLAB's coordinates, one for each code 2, in reading order.

`python -m tfds_builders.lsp.make_corrections` writes the file from the teacher's answers.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

#: The corrections file.
CORRECTIONS = Path(__file__).with_name("corrections.npz")
KEEP, DROP, REPLACE = 0, 1, 2
#: Positions are stored in units of 1 / `PARTS` px.
PARTS = 10


def correct(
    people: Float[np.ndarray, "people 14 3"], path: Path = CORRECTIONS
) -> Float[np.ndarray, "people 14 3"]:
    """Applies the corrections to the extension's labels.

    Args:
        people: x, y (MATLAB's coordinates) and labelled (1 or 0) of LSP's 14 joints, from
            `annotations.read_joints`; person i is photograph i + 1.
        path: the corrections.
    """
    stored = np.load(path)
    corrected = people.copy()
    rows = stored["number"].astype(int) - 1
    present = rows < len(people)
    persons = np.take_along_axis(
        people[rows[present]], stored["source"][present, :, None].astype(int), axis=1
    )
    persons[stored["code"][present] == DROP] = 0.0
    positions = np.zeros((*stored["code"].shape, 3))
    positions[stored["code"] == REPLACE] = np.pad(
        stored["position"] / PARTS, ((0, 0), (0, 1)), constant_values=1.0
    )
    replaced = stored["code"][present] == REPLACE
    persons[replaced] = positions[present][replaced]
    corrected[rows[present]] = persons
    return corrected
