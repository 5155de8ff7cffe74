"""The config file of the package, `--config stageN[:preset]`, for use without a clone.

`configs/stageN.py` of the repository are the same configs as files to copy and edit.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import ml_collections

from pose3d_jax.errors import UserError
from pose3d_jax.presets import experiment

_SHORT = re.compile(r"stage([123])(:\w+)?")


def get_config(stage_and_preset: str) -> ml_collections.ConfigDict:
    """The config of "3:tiny", or of "3" with the default preset; see `experiment`."""
    stage, _, preset = stage_and_preset.partition(":")
    return experiment(last_stage=int(stage), preset=preset or None)


def expand(argv: Sequence[str]) -> list[str]:
    """Replaces `stageN[:preset]` after `--config` by the path of this file.

    >>> expand(["train", "--config=stage3:tiny"])[1].endswith("presets/config_file.py:3:tiny")
    True

    Raises:
        UserError: a `stageN.py` is named that does not exist.
    """
    expanded = list(argv)
    for i, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag not in ("-config", "--config"):
            continue
        at = i if equals else i + 1
        if not equals:
            value = argv[at] if at < len(argv) else ""
        path, _, preset = value.partition(":")
        if (match := _SHORT.fullmatch(value)) and not Path(path).exists():
            value = f"{__file__}:{match[1]}{match[2] or ''}"
        elif _SHORT.fullmatch(Path(path).stem) and path.endswith(".py") and not Path(path).exists():
            short = f"{Path(path).stem}:{preset}" if preset else Path(path).stem
            raise UserError(f"There is no {path} here. Without a clone, use --config {short}.")
        if at < len(argv):
            expanded[at] = f"{flag}={value}" if equals else value
    return expanded
