"""Compiled programs, kept between runs."""

import os
from pathlib import Path

import jax


def keep_compiled(directory: str | os.PathLike) -> None:
    """Caches compiled programs in a directory; an empty name means no cache."""
    if directory:
        jax.config.update("jax_compilation_cache_dir", str(Path(directory).expanduser()))
