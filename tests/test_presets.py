"""The presets beside the paper, the release's options, and what the documents state."""

import dataclasses
import json
from pathlib import Path

import ml_collections
import pytest

from pose3d_jax import presets
from pose3d_jax.stages import get_stage, same_stages
from tests import miniature
from tfds_builders.human36m import release
from tfds_builders.lsp import lsp_dataset_builder

#: The preset `paper`, written from the paper (Secs. 3.4 and 4.1) and from measurements of its
#: release (docs/paper-preset.md). Values at their neutral element switch a later addition off.
PAPER = {
    "method": "3D+2D/w geo",
    "initial_network": "",
    "model": {
        "input_side": 256,
        "stem": "conv",
        "stacks": 2,
        "modules": 2,
        "levels": 4,
        "features": 256,
        "level_features": [],
        "level_modules": [],
        "depth_levels": 4,
        "depth_modules": 2,
        "depth_features": [],
        "init": "torch7",
        "zero_init_outputs": False,
        "output_scale": 1.0,
        "stem_features": 0,
        "depth_head": "flat",
        "decoding": "quarter_pixel",
    },
    "precision": {"compute": "float32"},
    "data": {
        "lab": {"name": "human36m", "train": "train", "test": "test"},
        "wild": {"name": "mpii", "train": "train", "test": "validation"},
        "batch_size": 6,
        "bone_length_sum": 0.0,
    },
    "targets": {"sigma": 1.75, "lab_joints": "weak_perspective"},
    "augmentation": {
        "lab": False,
        "scale_sigma": 0.25,
        "scale_limit": 0.5,
        "rotation_sigma": 30.0,
        "rotation_limit": 60.0,
        "rotation_probability": 0.4,
        "mirror_probability": 0.5,
        "colour_range": [0.6, 1.4],
        "shift_limit": 0.0,
        "cut_probability": 0.0,
        "empty_probability": 0.0,
    },
    "loss": {"unlabelled_joints": "empty"},
    "optimizer": {
        "name": "rmsprop",
        "momentum": 0.0,
        "decay": 0.99,
        "epsilon": 1e-8,
        "sync_batch_norm": True,
    },
    "stages": {
        "stage1": {"steps": 240_000, "domains": ["wild"], "learning_rate": 2.5e-4, "drop_at": 0,
                   "lambda_reg": 0.0, "lambda_geo": 0.0},
        "stage2": {"steps": 200_000, "domains": ["lab", "wild"], "learning_rate": 2.5e-4,
                   "drop_at": 160_000, "lambda_reg": 0.1, "lambda_geo": 0.0},
        "stage3": {"steps": 40_000, "domains": ["lab", "wild"], "learning_rate": 2.5e-5,
                   "drop_at": 0, "lambda_reg": 0.1, "lambda_geo": 0.01},
    },
}  # fmt: skip
NO_SCHEDULE = {"warmup_steps": 0, "cosine": False, "decay_steps": 0}


def as_tree(config):
    return json.loads(config.to_json())


def assert_contains(tree, expected, name=""):
    """Every value of `expected` is that of `tree`; `tree` may have others."""
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_contains(tree[key], value, f"{name}{key}.")
        else:
            assert tree[key] == value, f"{name}{key}"


def test_the_paper_preset_is_the_papers():
    tree = as_tree(presets.experiment(3, "paper"))
    assert_contains(tree, PAPER)
    for stage in tree["stages"].values():
        assert_contains(stage, NO_SCHEDULE)
    for section in ("targets", "loss", "precision"):  # Nothing else changes the result.
        assert tree[section].keys() == PAPER[section].keys(), section


@pytest.mark.parametrize("name", ["tiny", "synthetic"])
def test_the_rendered_presets_are_those_of_the_results(name):
    """docs/results.md was measured with these values: a change there needs new measurements."""
    golden = json.loads((Path(__file__).parent / "data" / "presets.json").read_text())[name]
    assert_contains(as_tree(presets.experiment(3, name)), golden)


def test_the_open_preset_leaves_unlabelled_joints_out_and_augments_rendered_people():
    config = presets.experiment(3, "open")
    assert config.loss.unlabelled_joints == "ignored" and config.augmentation.lab
    assert config.data.lab.name == "synthetic/varied"
    assert config.data.wild.name.split("/")[0] == "lsp"
    # The test half of Leeds Sports Pose is never trained on and selects nothing.
    splits = (*config.data.wild.train, config.data.wild.test)
    assert not any(split.startswith("test") for split in splits)
    first, *others = (get_stage(config, number) for number in (1, 2, 3))
    assert not first.with_depth and first.domains.count("wild") == 3
    assert all(stage.with_depth and stage.depth_only for stage in others)
    assert others[1].lambda_geo > 0


def test_stages_are_the_same_only_if_all_earlier_ones_are():
    paper = presets.experiment(3, "paper")
    for number in (1, 2, 3):
        other = ml_collections.ConfigDict(paper.to_dict())
        other.stages[f"stage{number}"].learning_rate *= 2
        same = [same_stages(paper, other, last) for last in (1, 2, 3)]
        assert same == [last < number for last in (1, 2, 3)]


@pytest.mark.parametrize(("reg", "geo", "depth"), [(0, 0, False), (0.1, 0, True), (0, 0.1, True)])
def test_a_stage_trains_depth_if_eq_2_has_a_term(reg, geo, depth):
    config = presets.experiment(3, "paper")
    config.stages.stage2.update({"lambda_reg": float(reg), "lambda_geo": float(geo)})
    assert get_stage(config, 2).with_depth is depth


def test_constants_of_the_data_sets_are_those_of_their_sources():
    """Human3.6M's calibration, and LSP's halves and near-duplicates across them."""
    cameras = {name: dataclasses.astuple(camera) for name, camera in release.CAMERAS.items()}
    assert cameras == miniature.CAMERAS
    assert lsp_dataset_builder.TRAINING_PHOTOGRAPHS == 1000
    assert {371, 483, 492, 550} == lsp_dataset_builder.NEAR_DUPLICATES
