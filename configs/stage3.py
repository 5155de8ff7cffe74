"""Stage 3: everything, with the geometric loss on wild images."""

from configs.curriculum import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 3. `preset`: see `configs.curriculum`."""
    return experiment(last_stage=3, preset=preset)
