"""What an ablation compares: configs that differ in one thing, and share the stages before it."""

import os
from collections.abc import Sequence
from pathlib import Path

import ml_collections
import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS, method_directory
from pose3d_jax.training.directory import CONFIG_FILE, config_differences

Variants = dict[str, ml_collections.ConfigDict]


def directory_of(place: Path, name: str, seed: int) -> Path:
    """A variant's work directory."""
    return place / f"seed-{seed}" / method_directory(name)


def variants(config: ml_collections.ConfigDict, seed: int, weights: Sequence[float]) -> Variants:
    """What is compared, by name: weights of the geometric loss, or else the methods."""
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
    """The weights of the command line.

    Raises:
        UserError: one is not a number from 0 up, or there twice; or stage 3 is not trained.
    """
    weights: list[float] = []
    for text in texts:
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not 0 <= weight < float("inf"):
            raise UserError(
                f"--lambda_geo wants numbers from 0 up, as in 0,0.01,0.1; not {text!r}."
            )
        if weight in weights:
            raise UserError(f"--lambda_geo has {text} twice.")
        weights.append(weight)
    if weights and last_stage != 3:
        raise UserError("--lambda_geo compares stages 3: take --config configs/stage3.py.")
    return weights


def link_common_stages(place: Path, config: ml_collections.ConfigDict) -> None:
    """Links to the stages that another variant of the same seed has in common with this one."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(1, config.last_stage + 1):
        directory = place / f"stage{number}"
        if directory.exists():
            continue
        for other in sorted(place.parent.glob(f"*/stage{number}")):
            if not (other / CONFIG_FILE).exists():
                continue
            if not config_differences(other, config, number):
                directory.symlink_to(os.path.relpath(other.resolve(), place))
                break
