"""Two hosts, of which one fails: both end, with the reason."""

import itertools
import signal
import subprocess
import sys
from pathlib import Path

import programs
import pytest

SCRIPT = Path(__file__).with_name("host.py")


def start_one(number: int, port: int, fault: str) -> subprocess.Popen:
    return programs.start([sys.executable, str(SCRIPT), str(number), str(port), fault])


def start(fault: str) -> list[subprocess.Popen]:
    port = programs.free_port()
    return [start_one(number, port, fault) for number in (0, 1)]


def ends(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def until_together(hosts: list[subprocess.Popen]) -> None:
    for host in hosts:
        for line in host.stdout:
            if line == "together\n":
                break
        else:
            raise AssertionError("did not come together")


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


def test_hosts_that_have_nothing_to_tell_end_quietly():
    assert [ends(host)[0] for host in start("none")] == [0, 0]


@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_on_one_host_ends_all_with_the_reason(failing):
    (_, here), (_, there) = results = [ends(host) for host in start(f"error {failing}")]
    assert [code for code, _ in results] == [1, 1]
    outputs = [here, there]
    assert last_line(outputs[failing]) == "error: The disk is full."
    assert last_line(outputs[1 - failing]) == f"error: host {failing}: The disk is full."
    assert "Traceback" not in here + there


@pytest.fixture(scope="module")
def survivors():
    """Exit code and output of the host that is left, for each signal to each host.

    All pairs at once: most of the time they wait.
    """
    pairs = {
        (victim, number): start("waits")
        for victim in (0, 1)
        for number in (signal.SIGKILL, signal.SIGSTOP)
    }
    try:
        for hosts in pairs.values():
            until_together(hosts)
        for (victim, number), hosts in pairs.items():
            hosts[victim].send_signal(number)
        return {
            (victim, number): ends(hosts[1 - victim]) for (victim, number), hosts in pairs.items()
        }
    finally:
        for host in itertools.chain(*pairs.values()):
            host.kill()
            host.communicate()


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_killed_or_stopped_ends_the_other(victim, number, survivors):
    code, output = survivors[victim, number]
    assert code == 1
    sentence = last_line(output)
    assert sentence.startswith("error: ") and sentence.endswith("on all hosts to resume.")
    who = (
        "Another host is gone" if (victim, number) == (0, signal.SIGKILL) else f"Host {victim} has"
    )
    assert who in sentence, output


def test_another_config_is_named_on_all_hosts():
    results = [ends(host) for host in start("config")]
    assert [code for code, _ in results] == [1, 1]
    for _, output in results:
        assert "model.features is" in last_line(output) and "another config" in output


def test_a_host_that_comes_too_late_ends_all():
    port = programs.free_port()
    for number in (0, 1):  # The second comes when the first has given up.
        code, output = ends(start_one(number, port, "late"))
        assert code == 1
        assert "error: The hosts did not come together within 5 s." in output
