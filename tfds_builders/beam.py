"""Options of Apache Beam's runners."""

from collections.abc import Sequence
from typing import Any

from pose3d_jax.errors import UserError


def options(runner: str, flags: Sequence[str], workers: int) -> Any:
    """Beam's `PipelineOptions`.

    Args:
        runner: the name of the runner.
        flags: the user's, `--key=value`.
        workers: number of processes of the local runner.

    Raises:
        UserError: Beam is not installed, or a flag does not begin with `--`.
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
        # The local runner's default mode, threads, silently loses records.
        flags = [
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={workers}",
            *flags,
        ]
    return PipelineOptions(list(flags))
