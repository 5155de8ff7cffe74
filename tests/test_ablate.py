"""The comparison of variants, as a user runs it."""

import json

import ml_collections
import pytest

from configs import curriculum
from pose3d_jax import ablate
from pose3d_jax.checkpoints import claim_directory
from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS
from tests import programs


def test_variants_link_to_the_stages_that_they_have_in_common(tmp_path):
    config = curriculum.experiment(3, "tiny")
    for method in METHODS:
        variant = ml_collections.ConfigDict(config.to_dict() | {"method": method})
        place = tmp_path / method.replace("/", "-")
        ablate.link_common_stages(place, variant)
        for number in (1, 2, 3):
            claim_directory(place / f"stage{number}", variant, number)
    own = [path for path in tmp_path.glob("*/stage*") if not path.is_symlink()]
    assert sorted(f"{path.parent.name}/{path.name}" for path in own) == sorted(
        ["3D-wo geo/stage1", "3D-wo geo/stage2", "3D+2D-wo geo/stage2"]
        + [f"{method.replace('/', '-')}/stage3" for method in METHODS]
    )
    # Another seed shares nothing: its directory is another.
    other = ml_collections.ConfigDict(config.to_dict() | {"seed": 1})
    ablate.link_common_stages(tmp_path / "other", other)
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("text", ["-1", "much", "inf", "nan"])
def test_weights_are_numbers_from_0_up(text):
    with pytest.raises(UserError, match="numbers from 0 up"):
        ablate.parse_weight(text)


def test_a_sweep_trains_compares_and_goes_on(data_dir, tmp_path):
    words = programs.command(tmp_path, data_dir, "--seeds=1", "--lambda_geo=0,100")
    words[words.index("pose3d_jax.train")] = "pose3d_jax.ablate"
    output, _ = (process := programs.start(words)).communicate(timeout=300)
    assert process.returncode == 0, output
    results = json.loads((tmp_path / "lambda_geo" / "results.json").read_text())
    assert list(results) == ["lambda_geo 0", "lambda_geo 100"]
    assert (tmp_path / "seed-0" / "lambda_geo-100" / "stage2").is_symlink()
    for domain in ("lab", "wild"):
        place = tmp_path / "lambda_geo" / f"synthetic-{domain}_tiny"
        assert {path.name for path in place.iterdir()} == {
            "bones.png", "joints.png", "pck.png", "pckh.png", "sweep.png"
        }  # fmt: skip
    tables = (tmp_path / "lambda_geo" / "tables.md").read_text()
    assert "| lambda_geo 100 |" in tables and "Table 4" in tables
    # A large weight changes what is learnt in the wild, from the same stage 2.
    rows = [seeds[0]["data"]["synthetic/wild_tiny"]["tables"] for seeds in results.values()]
    assert rows[0]["summary"]["MPJPE"] != rows[1]["summary"]["MPJPE"]

    (tmp_path / "lambda_geo" / "tables.md").unlink()
    again, _ = (process := programs.start(words)).communicate(timeout=300)
    assert process.returncode == 0 and "iterations" not in again
    assert (tmp_path / "lambda_geo" / "tables.md").read_text() == tables
