"""Ctrl-C and SIGTERM as a flag that the training loop reads between iterations."""

import signal

import jax
import numpy as np
from jax.experimental import multihost_utils


class Interruption:
    """Context manager that records the first signal; a second one terminates."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self._number = 0

    def __enter__(self):
        self._previous = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._record)
        return self

    def __exit__(self, *exception):
        self._restore_handlers()

    def _restore_handlers(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _record(self, number, frame):
        self._number = number
        self._restore_handlers()

    def asked(self, *, collectively: bool) -> int:
        """The number of the recorded signal, or 0.

        Several hosts must stop after the same iteration. With several, the answer is the same on
        all if all of them ask `collectively`, and 0 otherwise.
        """
        if jax.process_count() == 1:
            return self._number
        if not collectively:
            return 0
        return int(multihost_utils.process_allgather(np.int32(self._number)).max())
