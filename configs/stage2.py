"""Stage 2: 2D and depth, on lab and wild images; no geometric loss."""

from pose3d_jax.presets import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 2. `preset`: see `pose3d_jax.presets`."""
    return experiment(last_stage=2, preset=preset)
