"""Two hosts, of which one fails: both end within 90 s, each with a sentence."""

import itertools
import signal
import subprocess
import sys
from pathlib import Path

import programs
import pytest

SCRIPT = Path(__file__).with_name("host.py")
#: Our sentence, or JAX's where its own thread ends the process.
LOST = ("Another host is gone", "This most likely indicates that another task died")


def start_one(number: int, port: int, fault: str) -> subprocess.Popen:
    return programs.start([sys.executable, str(SCRIPT), str(number), str(port), fault])


def start(fault: str) -> list[subprocess.Popen]:
    port = programs.free_port()
    return [start_one(number, port, fault) for number in (0, 1)]


def end(process: subprocess.Popen, seconds: int = 300) -> tuple[int, str]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def wait_until_together(hosts: list[subprocess.Popen]) -> None:
    for host in hosts:
        for line in host.stdout:
            if line == "together\n":
                break
        else:
            raise AssertionError("did not come together")


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_on_one_host_ends_all(failing):
    results = [end(host) for host in start(f"error {failing}")]
    assert results[failing][0] == 1
    assert last_line(results[failing][1]) == "error: The disk is full."
    code, output = results[1 - failing]
    assert code != 0 and any(sentence in output for sentence in LOST), output
    assert "Traceback" not in results[0][1] + results[1][1]


@pytest.fixture(scope="module")
def survivors():
    """Exit code and output of the other host, for each signal to each host.

    All pairs run at once: most of the time they wait.
    """
    pairs = {
        (victim, number): start("waits")
        for victim in (0, 1)
        for number in (signal.SIGKILL, signal.SIGSTOP)
    }
    try:
        for hosts in pairs.values():
            wait_until_together(hosts)
        for (victim, number), hosts in pairs.items():
            hosts[victim].send_signal(number)
        return {
            (victim, number): end(hosts[1 - victim], 90)
            for (victim, number), hosts in pairs.items()
        }
    finally:
        for host in itertools.chain(*pairs.values()):
            host.kill()
            host.communicate()


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_host_ends_the_other(victim, number, survivors):
    code, output = survivors[victim, number]
    assert code != 0 and any(sentence in output for sentence in LOST), output
    assert "Traceback" not in output and "Stack" not in output, output


def test_another_config_is_named():
    (code_0, output_0), (code_1, output_1) = (end(host) for host in start("config"))
    assert code_0 != 0 and code_1 != 0
    assert "error: Host 1 has another config than host 0: model.features is 8 there, 16" in output_1
    assert "Host 1 has another config than host 0." in output_0 or LOST[1] in output_0


def test_a_host_without_the_others_ends():
    code, output = end(start_one(0, programs.free_port(), "late"))
    assert code != 0
    assert "did not come together within 5 s" in output or "DEADLINE_EXCEEDED" in output, output
