"""Preparation as work items: processed in parallel, cached when finished, resumable.

An item is a video, a group of images or a range of indices: a few seconds of work. A finished item
is two files in the cache, each written atomically: its records, and a JSON summary with their
number, remarks and errors. After Ctrl-C, `kill -9` or a full disk, the same command processes only
the items that are not in the cache.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tqdm

from pose3d_jax.errors import OverloadError, UserError
from pose3d_jax.files import atomic_write, write_text


class Remark(NamedTuple):
    """A line of the summary."""

    what: str  # the person, frame or file
    why: str  # what happened to it; the summary groups remarks by this text


@dataclasses.dataclass(frozen=True)
class Item:
    """A work item."""

    split: str  # split of its records
    name: str  # unique within the data set, for messages: `S1 Directions 1.54138969`
    row: tuple[str, ...]  # subject and action (or less), the row of the summary that counts it
    #: Files that it reads; the item is processed again when one of them changes.
    inputs: tuple[str, ...]
    task: Any  # the other arguments of the function that processes it
    limit: int | None = None  # the largest number of records; None for all


class Output(NamedTuple):
    """Result of an item."""

    records: list[dict[str, Any]]  # dictionaries of `pose3d_jax.records.features`
    remarks: Sequence[Remark] = ()  # for the summary
    errors: Sequence[str] = ()  # unusable inputs, one message each; fatal without `--partial`


class CachedOutput(NamedTuple):
    """A finished item: number of its records, the file that holds them, and as in `Output`."""

    records: int
    remarks: Sequence[Remark]
    errors: Sequence[str]
    path: str

    def load(self) -> list[dict[str, Any]]:
        """Reads the records."""
        return pickle.loads(Path(self.path).read_bytes())


Process = Callable[[Item], Output]


def _cache_key(process: Process, item: Item) -> str:
    """Hash of everything that the records depend on."""
    files = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in item.inputs]
    text = f"{process.__module__}.{process.__qualname__}\n{item!r}\n{files}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_cached(path: Path) -> CachedOutput:
    cached = CachedOutput(**json.loads(path.read_text()))
    return cached._replace(remarks=[Remark(*remark) for remark in cached.remarks])


def run(process: Process, item: Item, cache: Path) -> CachedOutput:
    """Processes one item, or returns its cached output.

    Args:
        process: turns an item into an `Output`; its `UserError` becomes an error of the item.
        item: the item.
        cache: directory of finished items.

    Raises:
        OverloadError: from `process`.
    """
    key = _cache_key(process, item)
    summary_path, records_path = cache / f"{key}.json", cache / f"{key}.records"
    if summary_path.exists():
        return _read_cached(summary_path)
    try:
        output = process(item)
    except OverloadError:  # It says nothing about the item.
        raise
    except UserError as error:
        output = Output([], errors=[str(error)])
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_write(records_path) as file:
        pickle.dump(output.records, file, protocol=pickle.HIGHEST_PROTOCOL)
    cached = CachedOutput(len(output.records), output.remarks, output.errors, str(records_path))
    write_text(summary_path, json.dumps(cached._asdict()))
    return _read_cached(summary_path)


def discard_failures(cache: Path) -> None:
    """Removes items with errors from the cache, so that they are processed again."""
    for path in cache.glob("*.json"):
        if _read_cached(path).errors:
            path.unlink()


def _start_worker() -> None:
    """Ignores Ctrl-C, which the parent handles, and exits when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_all(
    process: Process, items: Sequence[Item], cache: Path, workers: int, *, threads: bool = False
) -> Iterator[tuple[Item, CachedOutput]]:
    """Processes all items in parallel and yields their outputs in order.

    Args:
        process: see `run`; importable in a new process.
        items: the items.
        cache: see `run`.
        workers: number of processes or threads.
        threads: use threads instead of processes.
    """
    if threads or workers == 1:
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    else:
        # Spawned, not forked: JAX, Beam and video decoders run threads in this process.
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, max(1, len(items))),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
    records = 0
    pending: collections.deque[tuple[Item, concurrent.futures.Future[CachedOutput]]]
    pending = collections.deque()
    try:
        with progress_bar(total=len(items), desc="Making records", unit="item") as bar:
            for item in itertools.chain(items, [None]):
                if item is not None:
                    pending.append((item, pool.submit(run, process, item, cache)))
                # Results hold no records, so pending ones need little memory.
                while pending and (item is None or len(pending) >= 4 * workers):
                    first, future = pending.popleft()
                    output = future.result()
                    records += output.records
                    bar.set_postfix_str(f"{records:,} records", refresh=False)
                    bar.update()
                    yield first, output
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def progress_bar(iterable: Iterable | None = None, **options: Any) -> tqdm.tqdm:
    """A progress bar; in a log file, one line every 20 s."""
    return tqdm.tqdm(iterable, mininterval=0.2 if sys.stderr.isatty() else 20.0, **options)


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raises `KeyboardInterrupt` on SIGTERM, so that clean-up code runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
