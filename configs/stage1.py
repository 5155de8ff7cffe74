"""Stage 1: the 2D pose module, on 2D labels only."""

from configs.curriculum import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 1. `preset`: see `configs.curriculum`."""
    return experiment(last_stage=1, preset=preset)
