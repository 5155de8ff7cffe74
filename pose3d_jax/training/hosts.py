"""Several hosts as one run, by `jax.distributed`.

Hosts send JAX heartbeats. When one dies or stops, the others end within `TIMEOUT`: a collective
operation fails, or JAX ends the process because a heartbeat is missing.
"""

import faulthandler
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pose3d_jax.errors import Interrupted, UserError
from pose3d_jax.files import differences

#: Seconds to wait for the other hosts to start.
ARRIVAL = 300
#: Seconds without a heartbeat after which JAX gives up a host.
TIMEOUT = 40
#: Largest size of what hosts compare, as JSON.
_BYTES = 2**16
_LOST = (
    "error: Another host is gone: it failed, was killed or stopped, or the network failed. See the "
    "output of the other hosts, and rerun the command on all of them to resume."
)


def join(coordinator: str | None, count: int | None, number: int | None) -> None:
    """Joins the other hosts.

    Args:
        coordinator: host:port of host 0; None where JAX detects the cluster.
        count: number of hosts.
        number: number of this host.

    Raises:
        UserError: the hosts do not come together within `ARRIVAL` s.
    """
    faulthandler.disable()  # JAX ends this process with a sentence; a stack trace would hide it.
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            number,
            initialization_timeout=ARRIVAL,
            heartbeat_timeout_seconds=TIMEOUT,
            shutdown_timeout_seconds=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The hosts did not come together within {ARRIVAL} s. Start all of them, with the same "
            "--coordinator and --num_hosts, and with --host from 0 up. JAX reports: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def end_together(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """A program that ends on all hosts when it fails on one.

    A failing host exits without JAX's shutdown, which would wait for the others. Its connections
    close, and the next collective operation of the others fails.
    """

    @functools.wraps(main)
    def program(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except Interrupted:  # All hosts stop after the same iteration.
            barrier("interrupted")
            raise
        except BaseException as error:
            if jax.process_count() == 1:
                raise
            if isinstance(error, UserError):
                print(f"error: {error}", file=sys.stderr, flush=True)
            elif _is_lost_connection(error):
                print(_LOST, file=sys.stderr, flush=True)
            else:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(1)
        barrier("finished")

    return program


def barrier(name: str) -> None:
    """Waits until all hosts call this with the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agree(name: str, value: Any) -> None:
    """Checks that all hosts have the same value.

    Args:
        name: of the value, for the message.
        value: plain JSON values, at most `_BYTES` of JSON.

    Raises:
        UserError: a host has another value; the message has its name and the difference.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps(value).encode()
    first = multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(_BYTES), np.uint8))
    found = list(differences(json.loads(bytes(np.asarray(first))), json.loads(text)))
    elsewhere = multihost_utils.process_allgather(np.int32(len(found)))
    if elsewhere.any():
        which = f"Host {int(np.argmax(elsewhere > 0))} has another {name} than host 0"
        raise UserError(
            f"{which}{': ' if found else ''}{'; '.join(found)}. Start all hosts with the same "
            "command and the same data."
        )


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether an exception shows that another host is gone."""
    words = ("Gloo", "NCCL", "oordination", "UNAVAILABLE", "heartbeat")
    while error is not None:
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
