"""A command whose reader goes, or whose user has had enough, ends without a traceback."""

import signal
import subprocess
import sys

import pytest

from settings.files import ROOT

pytestmark = pytest.mark.process

ALL_ROWS = "bench/performance/measurements.csv"


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("planner", "estimate", "--batch", ALL_ROWS),
        ("planner", "recommend", "--all", "--json"),
        ("stacks", "explain"),
    ],
)
def test_a_reader_that_goes_leaves_no_traceback(arguments):
    """`| head`, `| less` and q."""
    with started(*arguments) as command:
        command.stdout.close()
        assert command.stderr.read() == ""
    assert command.returncode in (1, 141)  # 1: rich ends the command itself


def test_ctrl_c_leaves_no_traceback():
    with started("planner", "estimate", "--batch", ALL_ROWS) as command:
        command.stdout.readline()
        command.send_signal(signal.SIGINT)
        _, said = command.communicate()
    assert (command.returncode, said) == (130, "")
