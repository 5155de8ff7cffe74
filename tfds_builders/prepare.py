"""Prepares a data set: `python -m tfds_builders.prepare NAME [--manual_dir DIR]`.

Everything unfinished lives in one hidden directory beside the data sets, `.preparing/NAME`; the
data set appears in its place complete, by a rename. Rerun the command to resume.
"""

import pose3d_jax.programs.needs_train  # noqa: F401  # isort: skip

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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pose3d_jax import processors
from pose3d_jax.data.catalog import BUILT_IN
from pose3d_jax.errors import UserError
from pose3d_jax.files import locked
from pose3d_jax.programs.run import exit_code
from tfds_builders import beam, summary, work
from tfds_builders.base import RecordBuilder
from tfds_builders.builders import DATASETS, has_records, load_builder

#: Where unfinished work is kept, in the directory of the data sets.
HIDDEN = ".preparing"
LOCK = "lock"


def prepare(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    manual_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    partial: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
) -> Path:
    """Prepares one data set, or finds that it is prepared already.

    Args:
        name: data set or data set/configuration.
        data_dir: where data sets are kept; by default TFDS's own place.
        manual_dir: where the official files are.
        limit: a trial with at most this many records a split.
        partial: continue with an incomplete release.
        overwrite: prepare it again even if it is there.
        workers: processes; by default one per CPU.
        beam_runner: carry the work out on Apache Beam, with this runner.
        beam_options: Beam's own command-line options, `--key=value`.

    Returns:
        The directory of the data set.

    Raises:
        UserError: something is wrong with the release, or a trial would replace the whole: a
            sentence that says what.
        UnknownDatasetError: no such data set or configuration.
    """
    builder = load_builder(name, data_dir)
    place = Path(builder.data_dir)
    if has_records(builder) and not overwrite:
        metadata = tfds.builder_from_directory(builder.data_dir).info.metadata
        if _is_what_is_asked(metadata, limit, partial):
            print(f"{name} is prepared already: {place} (--overwrite prepares it again)")
            return place
        if limit and not metadata.get("limit"):
            raise UserError(
                f"{name} is prepared in {place}, and a trial would replace it. Choose another "
                "directory with --data_dir, or add --overwrite."
            )
    manual_dir = _check_manual_dir(name, builder, manual_dir)
    if workers is None:
        workers = processors.usable()
    config = builder.builder_config
    scratch = Path(builder.data_dir_root, HIDDEN, builder.name)
    if config:
        scratch /= config.name
    with work.interruptible(), _explained(scratch, name), _only_one(scratch, name):
        plan = builder.make_plan(
            manual_dir, scratch / "release", partial=partial, trial=bool(limit)
        )
        if limit:
            plan = plan.trial(limit)
        cache = scratch / "items"
        work.forget_failures(cache)
        items = plan.items
        if not beam_runner:
            made = list(work.do_all(plan.make, items, cache, workers, threads=builder.in_process))
            # Only now, when all have been tried: all failures are reported at once.
            _stop_on_failures(made, partial)
            # TFDS refuses a split without records.
            splits = {item.split for item, receipt in made if receipt.records}
            items = [item for item in items if item.split in splits]
        # TFDS writes below the hidden directory: a killed process leaves nothing elsewhere.
        shutil.rmtree(scratch / "written", ignore_errors=True)
        writer = load_builder(name, scratch / "written")
        writer.plan, writer.cache = dataclasses.replace(plan, items=items), cache
        _write(writer, beam_runner, beam_options, workers)
        results = [(item, work.do(plan.make, item, cache)) for item in plan.items]
        _stop_on_failures(results, partial)
        _check_totals(writer, results)
        summary.finish(writer, plan, results, title=f"{name}: {place}")
        _publish(Path(writer.data_dir), place, scratch)
        for part in scratch.iterdir():
            if part.name != LOCK:
                shutil.rmtree(part)
    print((place / summary.SUMMARY).read_text())
    return place


def _is_what_is_asked(metadata: Mapping[str, Any], limit: int | None, partial: bool) -> bool:
    """A trial does not stand for the whole, nor a part for what is complete by now."""
    complete = not metadata.get("missing")
    return metadata.get("limit") == limit and (complete or partial)


def _check_manual_dir(name: str, builder: Any, manual_dir: str | os.PathLike | None) -> Path:
    if builder.name == BUILT_IN:
        return Path()
    if manual_dir is None:
        raise UserError(
            f"{name} is made from files that you download yourself; say where they are with "
            f"--manual_dir.\n{builder.MANUAL_DOWNLOAD_INSTRUCTIONS.strip()}"
        )
    manual_dir = Path(os.path.abspath(os.path.expanduser(manual_dir)))
    if not manual_dir.is_dir():
        raise UserError(f"--manual_dir {manual_dir}: there is no such directory.")
    return manual_dir


@contextlib.contextmanager
def _only_one(scratch: Path, name: str) -> Iterator[None]:
    """Keeps two processes from preparing the same data set at once."""

    def refusal(owner: str) -> str:
        return f"{owner} prepares {name} in {scratch}. Wait for it or stop it."

    try:
        with locked(scratch / LOCK, refusal):
            yield
    finally:
        # What is kept for the next run stays; if there is nothing, nothing does.
        with contextlib.suppress(OSError):
            for directory in (scratch, *scratch.parents):
                directory.rmdir()
                if directory.name == HIDDEN:
                    break


def _stop_on_failures(results: Sequence[tuple[work.Item, work.Receipt]], partial: bool) -> None:
    failures = [error for _, receipt in results for error in receipt.errors]
    if failures and not partial:
        raise UserError(
            "\n".join(failures) + "\nWhat could be made is kept. Fix these files and run the same "
            "command again, or leave them out with --partial."
        )
    if not any(receipt.records for _, receipt in results):
        raise UserError("\n".join(["There is not one record in this release.", *failures]))


def _write(
    writer: RecordBuilder, beam_runner: str | None, beam_options: Sequence[str], workers: int
) -> None:
    """Lets TFDS write the records as ArrayRecord files."""
    options = None
    if beam_runner:
        options = beam.options(beam_runner, beam_options, workers)
        writer.use_beam = True
    config = tfds.download.DownloadConfig(
        beam_runner=beam_runner, beam_options=options, try_download_gcs=False
    )
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It speaks of downloads.
            writer.download_and_prepare(download_config=config)
    finally:
        tfds.enable_progress_bar()


def _check_totals(writer: RecordBuilder, results: Sequence[tuple[work.Item, work.Receipt]]) -> None:
    """Compares what was written with what was made: a Beam runner may lose records in silence."""
    made = collections.Counter()
    for item, receipt in results:
        made[item.split] += receipt.records
    for split, count in made.items():
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


@contextlib.contextmanager
def _explained(scratch: Path, name: str) -> Iterator[None]:
    """Turns what may happen to any long run into a sentence."""
    again = "What is finished is kept; rerun the command to resume."
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            f"A worker process was killed, most likely for want of memory. Use fewer --workers. "
            f"{again}"
        ) from error
    except KeyboardInterrupt:
        raise UserError(f"Interrupted. {again}") from None
    except Exception as error:
        # Python's own error, or the words of ArrayRecord's and Beam's.
        full = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
        if not any(words in str(error) for words in full):
            raise
        raise UserError(
            f"No space left for {name} in {scratch}. Free some, or choose another disk with "
            f"--data_dir. {again}"
        ) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders.prepare",
        description="Prepares a data set for training and evaluation.",
        epilog="What to download and where to put it: tfds_builders/README.md.",
    )
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(DATASETS)}, or NAME/CONFIG")
    parser.add_argument("--manual_dir", help="where the official files are")
    parser.add_argument("--data_dir", help="where data sets are kept (default: TFDS's own place)")
    parser.add_argument("--limit", type=int, help="a trial: at most this many records a split")
    parser.add_argument(
        "--partial", action="store_true", help="continue with an incomplete release"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="prepare it again even if it is there"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per CPU)")
    parser.add_argument("--beam_runner", help="work on Apache Beam: DirectRunner, FlinkRunner, …")
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
    # `synthetic` stands for what it is trained and tested on.
    names = ("synthetic/lab", "synthetic/wild") if name == "synthetic" else (name,)

    def program() -> None:
        for each in names:
            prepare(each, **options)

    return exit_code(program)


if __name__ == "__main__":
    sys.exit(main())
