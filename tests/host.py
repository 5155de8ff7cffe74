"""One of two hosts that exchange numbers in rounds: `host.py NUMBER PORT FAULT`."""

import sys
import time

import numpy as np
from jax.experimental import multihost_utils

from pose3d_jax.errors import UserError
from pose3d_jax.programs.run import configure_jax, run_program
from pose3d_jax.training import hosts

NUMBER, PORT, FAULT = int(sys.argv[1]), sys.argv[2], sys.argv[3]


@hosts.end_together
def main(argv):
    hosts.TIMEOUT = 15
    if FAULT == "late":
        hosts.ARRIVAL = 5
    hosts.join(f"127.0.0.1:{PORT}", 2, NUMBER)
    configure_jax(compilation_cache="")  # After joining, as in `programs.flags.start_jax`.
    features = 16 if FAULT == "config" and NUMBER == 1 else 8
    hosts.agree("config", {"model": {"features": features}, "stages": (1, 2)})
    print("together", flush=True)
    for step in range(10_000):
        multihost_utils.process_allgather(np.int32(step))
        if step == 2 and f"error {NUMBER}" == FAULT:
            raise UserError("The disk is full.")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    run_program(main)
