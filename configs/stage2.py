"""Stage 2: 2D and depth, on lab and wild images; no geometric loss."""

from configs.curriculum import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 2. `preset`: see `configs.curriculum`."""
    return experiment(last_stage=2, preset=preset)
