"""Stage 3: everything, with the geometric loss on wild images."""

from pose3d_jax.presets import experiment


def get_config(preset: str | None = None):
    """Trains up to and including stage 3. `preset`: see `pose3d_jax.presets`."""
    return experiment(last_stage=3, preset=preset)
