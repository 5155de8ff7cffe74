"""Several hosts as one run: whichever of them fails, all end within a minute, with the reason.

A host that fails leaves its reason in the key-value store of JAX's coordination service, where the
others look every second. Each also counts up a number there; a host whose number stands still was
killed, stopped or cut off. Hosts end without JAX's own farewell, which waits for all of them.
"""

import ctypes
import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax._src import distributed  # Its client has no public name; Orbax takes it from here too.

from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.files import differences

#: Seconds that the hosts that are there wait for the others to start.
ARRIVAL = 300
#: Seconds of silence after which a host is given up.
SILENCE = 30
#: What the store holds, by host.
_BEATS, _REASONS, _VALUES = "pose3d_jax/beats", "pose3d_jax/reasons", "pose3d_jax/values"
_AGAIN = "Rerun the command on all hosts to resume."
_A_DAY = 24 * 3600 * 1000

_joined, _finished = threading.Event(), threading.Event()
_ending = threading.Lock()


def join(coordinator: str | None, count: int | None, number: int | None) -> None:
    """Joins the other hosts, and watches them from now on.

    Args:
        coordinator: host:port of host 0; None where JAX detects the cluster.
        count: how many hosts.
        number: of this one.

    Raises:
        UserError: they do not come together.
    """
    apart = (
        f"The hosts did not come together within {ARRIVAL} s. Start all of them, with the same "
        "--coordinator and --num_hosts, and with numbers --host from 0 up."
    )
    _end_if_aborted(apart)
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            number,
            initialization_timeout=ARRIVAL,
            # Longer than SILENCE, because JAX ends a process with a stack trace.
            heartbeat_timeout_seconds=3 * SILENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{apart} JAX says: {str(error).strip().splitlines()[0]}") from error
    _end_if_aborted(_gone("Another host", "is gone"))
    if jax.process_count() > 1:
        _joined.set()
        news: set[int] = set()
        for work in (_tell, _judge):
            threading.Thread(target=work, args=(news,), daemon=True).start()


def end_together(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """A program that ends on all hosts when it fails on one."""

    @functools.wraps(main)
    def program(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except Interrupted:
            meet("interrupted")  # All hosts stop after the same iteration.
            _finished.set()
            raise
        except BaseException as error:
            if not _several():
                raise
            if _is_of_the_connection(error):
                time.sleep(2 * SILENCE)  # `_judge` knows who is gone, and ends this process.
            if not isinstance(error, UserError):
                traceback.print_exc()
            _end(str(error) or type(error).__name__, f"host {jax.process_index()}: ")
        meet("finished")
        _finished.set()

    return program


def meet(name: str) -> None:
    """Waits until all hosts are here."""
    if _several():
        _client().wait_at_barrier(f"pose3d_jax/{name}", _A_DAY)


def agree(name: str, value: Any) -> None:
    """Makes sure that all hosts have the same value.

    Args:
        name: what it is; no name may come twice in a run.
        value: plain JSON values.

    Raises:
        UserError: a host has another; the message says what differs.
    """
    if not _several():
        return
    mine = json.loads(json.dumps(value))
    client, me = _client(), jax.process_index()
    client.key_value_set(f"{_VALUES}/{name}/{me}", json.dumps(mine))
    for other in range(jax.process_count()) if me == 0 else (0,):
        there = json.loads(client.blocking_key_value_get(f"{_VALUES}/{name}/{other}", _A_DAY))
        if found := list(differences(there, mine)):
            raise UserError(
                f"Host {other} has another {name} than host {me}: {'; '.join(found)}. Start all "
                "hosts with the same command and the same data."
            )


def _several() -> bool:
    return _joined.is_set()


def _client() -> Any:
    return distributed.global_state.client


def _tell(news: set[int]) -> None:
    """Tells the others that this host is there, and collects whose number has changed."""
    before: dict[str, str] = {}
    for number in itertools.count():
        try:
            _client().key_value_set(
                f"{_BEATS}/{jax.process_index()}", str(number), allow_overwrite=True
            )
            for key, reason in _client().key_value_dir_get(_REASONS):
                if not key.endswith(f"/{jax.process_index()}"):
                    _end(reason, "")
            for key, beat in _client().key_value_dir_get(_BEATS):
                if before.get(key) != beat:
                    news.add(int(key.rpartition("/")[2]))
                    before[key] = beat
        except (RuntimeError, ValueError, AttributeError):
            pass  # Host 0 does not answer, or this process is ending: `_judge` counts.
        time.sleep(1)


def _judge(news: set[int]) -> None:
    """Ends this process when a host has been silent for too long.

    Rounds are counted, not the clock: a process that was stopped itself must not blame the others.
    """
    silent = dict.fromkeys(range(jax.process_count()), 0)
    while not _finished.wait(1):
        heard = {news.pop() for _ in range(len(news))}
        # Whoever does not hear itself does not reach host 0, which has the store.
        missing = {0} if jax.process_index() not in heard else silent.keys() - heard
        for host in silent:
            silent[host] = silent[host] + 1 if host in missing else 0
            if silent[host] >= SILENCE:
                _end(_gone(f"Host {host}", f"has been silent for {SILENCE} s"), "")


def _gone(host: str, what: str) -> str:
    return (
        f"{host} {what}: it was killed or stopped, or the network failed. See its own "
        f"output. {_AGAIN}"
    )


def _is_of_the_connection(error: BaseException | None) -> bool:
    """Whether an exception only shows that another host is gone."""
    while error is not None:
        text = str(error)
        if any(word in text for word in ("Gloo", "NCCL", "oordination", "UNAVAILABLE: ")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end(reason: str, origin: str) -> None:
    """Leaves the reason for the others, and ends this process."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()  # Another thread does, for another reason.
    print(f"error: {reason}", file=sys.stderr, flush=True)
    sys.stdout.flush()

    def leave_reason():
        try:
            me = jax.process_index()
            _client().key_value_set(f"{_REASONS}/{me}", origin + reason, allow_overwrite=True)
        except (RuntimeError, ValueError, AttributeError):
            pass  # Host 0 is gone, and the store with it.

    # Where host 0 is stopped, the store does not answer.
    writer = threading.Thread(target=leave_reason, daemon=True)
    writer.start()
    writer.join(5)
    if jax.process_index() == 0:
        time.sleep(5)  # With this process the store ends: the others must have read it.
    os._exit(1)


def _end_if_aborted(reason: str) -> None:
    """Adds a sentence where JAX aborts the process, as it does when host 0's connection breaks."""
    message = f"error: {reason}\n".encode()

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def end(number):
        os.write(sys.stderr.fileno(), message)
        os._exit(1)

    _end_if_aborted.handler = end  # C keeps no reference.
    ctypes.CDLL(None).signal(signal.SIGABRT, end)
