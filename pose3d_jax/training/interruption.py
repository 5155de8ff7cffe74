"""Ctrl-C and SIGTERM as a question that the training loop asks between steps."""

import signal

import jax
import numpy as np
from jax.experimental import multihost_utils


class Interruption:
    """Remembers a signal instead of dying of it; a second one acts as usual."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self._number = 0

    def __enter__(self):
        self._previous = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception):
        self._give_back()

    def _give_back(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number, frame):
        self._number = number
        self._give_back()

    def asked(self, *, collectively: bool) -> int:
        """The signal that came, or 0.

        Several hosts must stop at the same step: there the answer is 0 unless all of them ask
        `collectively`, and then it is the same on all.
        """
        if jax.process_count() == 1:
            return self._number
        if not collectively:
            return 0
        return int(multihost_utils.process_allgather(np.int32(self._number)).max())
