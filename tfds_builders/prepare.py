"""Prepares a data set: `python -m tfds_builders.prepare NAME [--manual_dir DIR]`.

Unfinished work is in one hidden directory beside the data sets, `.preparing/NAME`. A finished data
set appears in its place by one rename. The same command resumes after an interruption.
"""

import pose3d_jax.programs.start  # noqa: F401  # isort: skip

import argparse
import collections
import contextlib
import dataclasses
import errno
import io
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax import processors
from pose3d_jax.data.catalog import BUILT_IN, FILE_FORMAT, FILE_FORMATS
from pose3d_jax.errors import UserError
from pose3d_jax.files import local_path, locked
from pose3d_jax.programs.run import exit_code
from tfds_builders import summary, work
from tfds_builders.base import Plan, RecordBuilder
from tfds_builders.builders import DATASETS, has_records, load_builder
from tfds_builders.summary import Outputs

#: Directory of unfinished work, in the directory of the data sets.
HIDDEN = ".preparing"
LOCK = "lock"
#: Beam's `DirectRunner` first tries to download and to run another program, Prism, which has no
#: processes; this is what it runs otherwise.
LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    manual_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    partial: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    file_format: str = FILE_FORMAT,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Path:
    """Prepares one data set, unless it is prepared already.

    Args:
        name: data set or data set/configuration.
        data_dir: directory of the data sets; see `catalog.data_root`.
        manual_dir: directory of the official files.
        limit: prepare a trial with at most this many records a split.
        partial: accept an incomplete release.
        overwrite: replace a prepared data set.
        workers: number of processes; by default one per CPU.
        file_format: one of `catalog.FILE_FORMATS`. Training and evaluation read ArrayRecord.
        beam_runner: process the items on Apache Beam, with this runner.
        beam_options: Beam's command-line options, `--key=value`.

    Returns:
        The directory of the data set.

    Raises:
        UserError: there is no such data set, the release is unusable, or a complete data set would
            be replaced by a trial or by another file format.
    """
    _check_file_format(file_format)
    builder = load_builder(name, data_dir)
    place = Path(builder.data_dir)
    if has_records(builder) and not overwrite:
        prepared = tfds.builder_from_directory(builder.data_dir).info
        if prepared.file_format.value != file_format:
            raise UserError(
                f"{name} is prepared as {prepared.file_format.value} in {place}. Choose another "
                "directory with --data_dir, or replace it with --overwrite."
            )
        complete = not prepared.metadata.get("missing")
        if prepared.metadata.get("limit") == limit and (complete or partial):
            print(f"{name} is prepared already: {place} (--overwrite prepares it again)")
            return place
        if limit and not prepared.metadata.get("limit"):
            raise UserError(
                f"{name} is prepared in {place}, and a trial would replace it. Choose another "
                "directory with --data_dir, or replace it with --overwrite."
            )
    manual_dir = _check_manual_dir(name, builder, manual_dir)
    if workers is None:
        workers = processors.usable()
    config = builder.builder_config
    scratch = Path(builder.data_dir_root, HIDDEN, builder.name, config.name if config else "")
    with work.sigterm_as_interrupt(), _run_errors(scratch, name), _single_process(scratch, name):
        plan = builder.make_plan(
            manual_dir, scratch / "release", partial=partial, trial=bool(limit)
        )
        if limit:
            plan = plan.trial(limit)
        cache = scratch / "items"
        work.discard_failures(cache)
        items = plan.items
        if not beam_runner:
            outputs = work.run_all(plan.process, items, cache, workers, threads=builder.use_threads)
            outputs = list(outputs)  # All items first: the error lists all failures.
            _check_outputs(outputs, plan, partial)
            # TFDS refuses a split without records.
            splits = {item.split for item, output in outputs if output.records}
            items = [item for item in items if item.split in splits]
        # TFDS writes below the hidden directory, so a killed process leaves nothing elsewhere.
        shutil.rmtree(scratch / "written", ignore_errors=True)
        writer = load_builder(name, scratch / "written", file_format)
        writer.plan, writer.cache = dataclasses.replace(plan, items=items), cache
        _write(writer, beam_runner, beam_options, workers)
        outputs = [(item, work.run(plan.process, item, cache)) for item in plan.items]
        _check_outputs(outputs, plan, partial)
        _check_totals(writer, outputs)
        summary.write_summary(writer, plan, outputs, title=f"{name}: {place}")
        _publish(Path(writer.data_dir), place, scratch)
        for part in scratch.iterdir():
            if part.name != LOCK:
                shutil.rmtree(part)
    print((place / summary.SUMMARY).read_text())
    return place


def _check_file_format(file_format: str) -> None:
    if file_format not in FILE_FORMATS:
        raise UserError(f"--file_format {file_format}: choose {' or '.join(FILE_FORMATS)}.")
    if file_format == FILE_FORMAT:
        return
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--file_format {file_format} needs TensorFlow: pip install tensorflow"
        ) from error


def _check_manual_dir(name: str, builder: Any, manual_dir: str | os.PathLike | None) -> Path:
    if builder.name == BUILT_IN:
        return Path()
    if manual_dir is None:
        raise UserError(
            f"{name} is made from files that you download yourself; give their directory with "
            f"--manual_dir.\n{builder.MANUAL_DOWNLOAD_INSTRUCTIONS.strip()}"
        )
    manual_dir = local_path(manual_dir, "--manual_dir")
    if not manual_dir.is_dir():
        raise UserError(f"--manual_dir {manual_dir}: there is no such directory.")
    return manual_dir


@contextlib.contextmanager
def _single_process(scratch: Path, name: str) -> Iterator[None]:
    """Refuses a second process that prepares the same data set."""

    def refusal(owner: str) -> str:
        return f"{owner} prepares {name} in {scratch}. Wait for it or stop it."

    try:
        with locked(scratch / LOCK, refusal):
            yield
    finally:
        # Empty directories are removed; finished items stay for the next run.
        with contextlib.suppress(OSError):
            for directory in (scratch, *scratch.parents):
                directory.rmdir()
                if directory.name == HIDDEN:
                    break


def _check_outputs(outputs: Outputs, plan: Plan, partial: bool) -> None:
    """Raises one `UserError` with all failures: fatal ones, or the reasons for no records."""
    failures = [error for _, output in outputs for error in output.errors]
    if failures and not partial:
        raise UserError(
            "\n".join(failures) + "\nFinished items are kept. Replace these files and run the same "
            "command again, or leave them out with --partial."
        )
    if not any(output.records for _, output in outputs):
        reasons = [*failures, *plan.missing]
        raise UserError("\n".join([*reasons, "No records can be made from this release."]))


def _write(
    writer: RecordBuilder, beam_runner: str | None, beam_options: Sequence[str], workers: int
) -> None:
    """Writes the records with TFDS."""
    options = None
    if beam_runner:
        options = _parse_beam_options(beam_runner, beam_options, workers)
        beam_runner = LOCAL_RUNNER if beam_runner == "DirectRunner" else beam_runner
        writer.use_beam = True
    config = tfds.download.DownloadConfig(
        beam_runner=beam_runner, beam_options=options, try_download_gcs=False
    )
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Messages about downloads.
            writer.download_and_prepare(download_config=config)
    finally:
        tfds.enable_progress_bar()


def _parse_beam_options(runner: str, flags: Sequence[str], workers: int) -> Any:
    """Beam's `PipelineOptions`."""
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            "--beam_runner needs Apache Beam: pip install 'pose3d_jax[beam]'"
        ) from error
    for flag in flags:
        if not flag.startswith("--"):
            raise UserError(f"--beam_option={flag}: write it as --beam_option=--KEY=VALUE.")
    if runner != "DirectRunner":
        return PipelineOptions(list(flags))
    # In threads, a timer empties Beam's output buffer while records are added, and some are lost
    # (`TimeBasedBufferingClosableOutputStream` of Beam 2.77).
    mode = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    return PipelineOptions([*mode, *flags])


def _check_totals(writer: RecordBuilder, outputs: Outputs) -> None:
    """Compares written with processed records: a Beam runner may lose some silently."""
    totals = collections.Counter()
    for item, output in outputs:
        totals[item.split] += output.records
    for split, count in totals.items():
        written = writer.info.splits[split].num_examples if count else 0
        if written != count:
            raise UserError(
                f"Split {split}: {count} records were made and {written} written. The runner lost "
                "some; nothing was kept of its output. Try another runner."
            )


def _publish(written: Path, place: Path, scratch: Path) -> None:
    """Moves the finished data set to its place, and an old one away."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.rmtree(scratch / "replaced", ignore_errors=True)
        place.rename(scratch / "replaced")
    written.rename(place)
    # TFDS's record of the default configuration, which `tfds.load("lsp")` needs.
    if (default := written.parent.parent / ".config").is_dir():
        shutil.copytree(default, place.parent.parent / ".config", dirs_exist_ok=True)


@contextlib.contextmanager
def _run_errors(scratch: Path, name: str) -> Iterator[None]:
    """Turns failures of any long run into `UserError`: memory, interruption, a full disk."""
    resume = "Finished items are kept; run the same command again to resume."
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed, probably because memory ran out. Use fewer --workers. "
            f"{resume}"
        ) from error
    except KeyboardInterrupt:
        raise UserError(f"Interrupted. {resume}") from None
    except Exception as error:
        # Python's error, or the text of ArrayRecord's and Beam's errors.
        full = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
        if not any(words in str(error) for words in full):
            raise
        raise UserError(
            f"No space left for {name} in {scratch}. Free some, or choose another disk with "
            f"--data_dir. {resume}"
        ) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders.prepare",
        description="Prepares a data set for training and evaluation.",
        epilog="What to download and where to put it: README.md of each data set's directory.",
    )
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(DATASETS)}, or NAME/CONFIG")
    parser.add_argument("--manual_dir", help="directory of the official files")
    parser.add_argument("--data_dir", help="directory of the data sets (default: TFDS's)")
    parser.add_argument(
        "--limit", type=int, help="prepare a trial: at most this many records a split"
    )
    parser.add_argument("--partial", action="store_true", help="accept an incomplete release")
    parser.add_argument("--overwrite", action="store_true", help="replace a prepared data set")
    parser.add_argument("--workers", type=int, help="processes (default: one per CPU)")
    parser.add_argument(
        "--file_format", choices=FILE_FORMATS, default=FILE_FORMAT,
        help="array_record (default; what training reads) or tfrecord (for `tfds.load`)",
    )  # fmt: skip
    parser.add_argument("--beam_runner", help="use Apache Beam: DirectRunner, FlinkRunner, …")
    parser.add_argument(
        "--beam_option", dest="beam_options", action="append", default=[],
        metavar="--KEY=VALUE", help="an option of the Beam runner; may be repeated",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    for key in ("limit", "workers"):
        if getattr(options, key) is not None and getattr(options, key) < 1:
            parser.error(f"--{key} must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = vars(_parse(arguments))
    name = options.pop("name")
    logging.getLogger("absl").setLevel(logging.ERROR)
    # `synthetic` alone means both domains of the benchmark.
    names = ("synthetic/lab", "synthetic/wild") if name == "synthetic" else (name,)

    def program() -> None:
        for each in names:
            prepare(each, **options)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
