"""Presets: complete configs of a run (Secs. 3.4 and 4.1 of the paper).

Four presets:

- `paper`: Human3.6M and MPII, the full network, the paper's schedule.
- `synthetic`: the built-in synthetic benchmark at full size, for one GPU.
- `tiny`: the built-in synthetic benchmark with a small network; minutes on a laptop's CPU.
- `open`: photographs of Leeds Sports Pose and rendered people; hours on a CPU.

Every value can be changed on the command line (`--config.model.features=128`); `official.py`
lists and explains all of them. The section `run` does not change the result; a run may be resumed
with other values there.
"""

import ml_collections

from pose3d_jax.data.catalog import is_prepared
from pose3d_jax.errors import UserError
from pose3d_jax.presets.official import paper, stage
from pose3d_jax.presets.photographs import open_data
from pose3d_jax.presets.rendered import synthetic, tiny

__all__ = ["PRESETS", "experiment", "open_data", "paper", "stage", "synthetic", "tiny"]

PRESETS = ("paper", "synthetic", "tiny", "open")


def experiment(last_stage: int, preset: str | None = None) -> ml_collections.ConfigDict:
    """The config of a run that trains up to and including `last_stage`.

    Args:
        last_stage: 1, 2 or 3.
        preset: one of `PRESETS`; without one, `paper` where both data sets are prepared, `tiny`
            where neither is.

    Raises:
        UserError: unknown preset, or only one of the paper's data sets is prepared.
    """
    preset = preset or _preset_of_prepared_data()
    makers = {"paper": paper, "synthetic": synthetic, "tiny": tiny, "open": open_data}
    if preset not in makers:
        raise UserError(f"Unknown preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    config = makers[preset]()
    config.preset = preset
    config.last_stage = last_stage
    return config


def _preset_of_prepared_data() -> str:
    missing = [name for name in ("human36m", "mpii") if not is_prepared(name)]
    if len(missing) == 1:
        raise UserError(
            f"The preset `paper` needs Human3.6M and MPII, and {missing[0]} is not prepared. "
            f"Prepare it with `python -m tfds_builders.prepare {missing[0]} --manual_dir DIR`, "
            "or name another preset: `--config configs/stage3.py:tiny`."
        )
    return "tiny" if missing else "paper"
