"""Apache Beam, for those who have a cluster: which options the runner gets."""

from collections.abc import Sequence
from typing import Any

from pose3d_jax.errors import UserError


def options(runner: str, flags: Sequence[str], workers: int) -> Any:
    """Beam's `PipelineOptions`.

    Args:
        runner: the name of the runner.
        flags: the user's own, `--key=value`.
        workers: processes of the local runner.

    Raises:
        UserError: Beam is not installed, or a flag is not one.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            "--beam_runner needs Apache Beam: pip install 'pose3d_jax[beam]'"
        ) from error
    for flag in flags:
        if not flag.startswith("--"):
            raise UserError(f"--beam_option={flag}: write it as --beam_option=--KEY=VALUE.")
    if runner == "DirectRunner":
        # In its default mode, threads, the local runner silently loses records.
        flags = [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={workers}",
            *flags,
        ]
    return PipelineOptions(list(flags))
