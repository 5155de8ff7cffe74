"""Compiled programs, kept between runs."""

import os
from pathlib import Path

import jax


def keep_compiled(directory: str | os.PathLike) -> None:
    """Keeps compiled programs in a directory, and finds them there; not where it is empty."""
    if directory:
        jax.config.update("jax_compilation_cache_dir", str(Path(directory).expanduser()))
