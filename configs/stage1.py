"""Stage 1: the 2D pose module, on 2D labels only."""

from pose3d_jax.presets import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 1. `preset`: see `pose3d_jax.presets`."""
    return experiment(last_stage=1, preset=preset)
