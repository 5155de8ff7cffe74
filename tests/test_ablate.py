"""The comparison of variants, as a user runs it."""

import ml_collections
import pytest

from pose3d_jax import presets
from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS
from pose3d_jax.training.directory import claim_directory
from pose3d_jax.training.variants import link_common_stages, parse_weights, variants


def test_variants_link_to_the_stages_that_they_have_in_common(tmp_path):
    config = presets.experiment(3, "tiny")
    for method in METHODS:
        variant = ml_collections.ConfigDict(config.to_dict() | {"method": method})
        place = tmp_path / method.replace("/", "-")
        link_common_stages(place, variant)
        for number in (1, 2, 3):
            claim_directory(place / f"stage{number}", variant, number)
    own = [path for path in tmp_path.glob("*/stage*") if not path.is_symlink()]
    assert sorted(f"{path.parent.name}/{path.name}" for path in own) == sorted(
        ["3D-wo geo/stage1", "3D-wo geo/stage2", "3D+2D-wo geo/stage2"]
        + [f"{method.replace('/', '-')}/stage3" for method in METHODS]
    )
    # Another seed shares nothing: its directory is another.
    other = ml_collections.ConfigDict(config.to_dict() | {"seed": 1})
    link_common_stages(tmp_path / "other", other)
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("text", ["-1", "much", "inf", "nan"])
def test_weights_are_numbers_from_0_up(text):
    with pytest.raises(UserError, match="numbers from 0 up"):
        parse_weights(["0", text], last_stage=3)


def test_weights_are_compared_where_they_differ_and_count():
    with pytest.raises(UserError, match=r"0\.10 twice"):
        parse_weights(["0", "0.1", "0.10"], last_stage=3)
    with pytest.raises(UserError, match="--config stage3"):
        parse_weights(["0", "0.1"], last_stage=2)


def test_every_weight_is_a_variant_of_its_own():
    weights = [0.0, 0.1, 0.12345678, 0.12345679, 1e-5, 100.0]
    found = variants(presets.experiment(3, "tiny"), 7, weights)
    assert [float(name.removeprefix("lambda_geo ")) for name in found] == weights
    assert [variant.stages.stage3.lambda_geo for variant in found.values()] == weights
    assert {(variant.method, variant.seed) for variant in found.values()} == {(METHODS[-1], 7)}
    assert list(variants(presets.experiment(3, "tiny"), 7, [])) == list(METHODS)
