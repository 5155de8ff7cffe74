"""The comparison of variants, as a user runs it."""

import ml_collections
import pytest

from pose3d_jax import ablate, presets
from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS
from pose3d_jax.training.directory import claim_directory


def test_variants_link_to_the_stages_that_they_have_in_common(tmp_path):
    config = presets.experiment(3, "tiny")
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
