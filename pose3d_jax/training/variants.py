"""The configs that an ablation compares: they differ in one value and share earlier stages."""

import os
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS, method_directory
from pose3d_jax.training.directory import CONFIG_FILE, config_differences

Variants = dict[str, ml_collections.ConfigDict]


def variant_directory(workdir: Path, name: str, seed: int) -> Path:
    """The work directory of a variant."""
    return workdir / f"seed-{seed}" / method_directory(name)


def variants(config: ml_collections.ConfigDict, seed: int, weights: Sequence[float]) -> Variants:
    """The configs to compare, by name: the methods, or weights of the geometric loss if given."""
    chosen = {}
    for method in METHODS[-1:] if weights else METHODS:
        for weight in weights or [config.stages.stage3.lambda_geo]:
            variant = ml_collections.ConfigDict(config.to_dict())
            variant.seed, variant.method = seed, method
            variant.stages.stage3.lambda_geo = weight
            shown = np.format_float_positional(weight, trim="-")
            chosen[f"lambda_geo {shown}" if weights else method] = variant
    return chosen


def parse_weights(texts: Sequence[str], last_stage: int) -> list[float]:
    """The weights of the geometric loss on the command line.

    Raises:
        UserError: one is not a number from 0 up, or is repeated; or stage 3 is not trained.
    """
    weights: list[float] = []
    for text in texts:
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not 0 <= weight < float("inf"):
            raise UserError(
                f"--lambda_geo takes numbers from 0 up, as in 0,0.01,0.1; not {text!r}."
            )
        if weight in weights:
            raise UserError(f"--lambda_geo has {text} twice.")
        weights.append(weight)
    if weights and last_stage != 3:
        raise UserError("--lambda_geo compares stages 3: use --config stage3.")
    return weights


def link_common_stages(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Links the stages that another variant of the same seed shares with this one."""
    workdir.mkdir(parents=True, exist_ok=True)
    for number in range(1, config.last_stage + 1):
        directory = workdir / f"stage{number}"
        if directory.exists():
            continue
        for other in sorted(workdir.parent.glob(f"*/stage{number}")):
            if not (other / CONFIG_FILE).exists():
                continue
            if not config_differences(other, config, number):
                directory.symlink_to(os.path.relpath(other.resolve(), workdir))
                break
