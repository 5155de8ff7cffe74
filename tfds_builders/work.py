"""Work cut into items: made in parallel, cached as it is finished, never made twice.

An item is a video, a chunk of images, a chunk of indices: what one worker does in some seconds. A
finished item is two files, written atomically: its records, and a receipt that says how
many there are and what was noticed. Whoever runs the same work again, after Ctrl-C, `kill -9` or
a full disk, makes only what has no receipt.
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

from pose3d_jax.errors import UserError
from pose3d_jax.files import write_text, written_whole


class Remark(NamedTuple):
    """Something that the summary should report.

    Attributes:
        what: the person, frame or file that it is about.
        why: what happened to it; remarks with the same words are grouped.
    """

    what: str
    why: str


@dataclasses.dataclass(frozen=True)
class Item:
    """A piece of work.

    Attributes:
        split: the split that its records belong to.
        name: what a person calls it, unique within the data set: `S1 Directions 1.54138969`.
        row: subject and action (or less) under which the summary counts it.
        inputs: the files that it reads; if one of them changes, the item is made again.
        task: whatever else its maker needs to know.
        limit: make no more records than this; None for all.
    """

    split: str
    name: str
    row: tuple[str, ...]
    inputs: tuple[str, ...]
    task: Any
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of an item.

    Attributes:
        records: dictionaries of `pose3d_jax.records.features`.
        remarks: what the summary should say about them.
        errors: what could not be used, and why, in sentences: fatal unless the user wants a part.
    """

    records: list[dict[str, Any]]
    remarks: tuple[Remark, ...] = ()
    errors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What is known about a finished item without reading its records.

    Attributes:
        records: how many records it made.
        remarks: see `Made`.
        errors: see `Made`.
        path: the file that holds the records.
    """

    records: int
    remarks: tuple[Remark, ...]
    errors: tuple[str, ...]
    path: str

    def load(self) -> list[dict[str, Any]]:
        """The records themselves."""
        return pickle.loads(Path(self.path).read_bytes())


Make = Callable[[Item], Made]


def _fingerprint(make: Make, item: Item) -> str:
    """Names an item by everything its records depend on."""
    files = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in item.inputs]
    text = f"{make.__module__}.{make.__qualname__}\n{item!r}\n{files}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_receipt(path: Path) -> Receipt:
    found = json.loads(path.read_text())
    found["remarks"] = tuple(Remark(*remark) for remark in found["remarks"])
    found["errors"] = tuple(found["errors"])
    return Receipt(**found)


def do(make: Make, item: Item, cache: Path) -> Receipt:
    """Makes one item, unless its receipt is there already.

    Args:
        make: turns an item into records; a `UserError` of its is an error of the item.
        item: the item.
        cache: the directory of records and receipts.
    """
    name = _fingerprint(make, item)
    receipt_path, records_path = cache / f"{name}.json", cache / f"{name}.records"
    if receipt_path.exists():
        return _read_receipt(receipt_path)
    try:
        made = make(item)
    except UserError as error:
        made = Made([], errors=(str(error),))
    cache.mkdir(parents=True, exist_ok=True)
    with written_whole(records_path) as file:
        pickle.dump(made.records, file, protocol=pickle.HIGHEST_PROTOCOL)
    receipt = Receipt(len(made.records), made.remarks, made.errors, str(records_path))
    write_text(receipt_path, json.dumps(dataclasses.asdict(receipt)))
    return receipt


def forget_failures(cache: Path) -> None:
    """Forgets the items that had errors, so that they are tried again."""
    for path in cache.glob("*.json"):
        if _read_receipt(path).errors:
            path.unlink()


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do_all(
    make: Make, items: Sequence[Item], cache: Path, workers: int, *, threads: bool = False
) -> Iterator[tuple[Item, Receipt]]:
    """Makes all items, in parallel, and yields their receipts in the items' order.

    Args:
        make: see `do`; a function that a new process can import.
        items: the items.
        cache: see `do`.
        workers: how many processes or threads.
        threads: threads of this process instead of processes.
    """
    if threads or workers == 1:
        pool = concurrent.futures.ThreadPoolExecutor(workers)
    else:
        # Spawned, not forked: the caller may have threads (JAX, Beam), as video decoders do.
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, max(1, len(items))),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
    records = 0
    waiting: collections.deque[tuple[Item, concurrent.futures.Future[Receipt]]]
    waiting = collections.deque()
    try:
        with progress(total=len(items), desc="Making records", unit="item") as bar:
            for item in itertools.chain(items, [None]):
                if item is not None:
                    waiting.append((item, pool.submit(do, make, item, cache)))
                # Workers hand back receipts, not records: what waits here takes no memory.
                while waiting and (item is None or len(waiting) >= 4 * workers):
                    first, future = waiting.popleft()
                    receipt = future.result()
                    records += receipt.records
                    bar.set_postfix_str(f"{records:,} records", refresh=False)
                    bar.update()
                    yield first, receipt
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def progress(over: Iterable | None = None, **options: Any) -> tqdm.tqdm:
    """A bar on a terminal; in a log file, a line now and then."""
    return tqdm.tqdm(over, mininterval=0.2 if sys.stderr.isatty() else 20.0, **options)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM end the program as Ctrl-C does: by an exception, which cleans up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
