"""What a person sees of a long installation: how much is done, and how long the rest takes on this machine."""

import io
import sys

import pytest

from toolchain import console
from toolchain.progress import Progress
from toolchain.recipes import Output


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    """Three programs of 300, 100 and 200 CPU seconds on two cores."""
    outputs = [Output(name=name, package="", cpu_seconds=seconds) for name, seconds in (("a", 300), ("b", 100), ("c", 200))]
    return Progress(outputs=outputs, cores=2, clock=clock)


def test_the_announcement_counts_in_plain_english(progress):
    assert progress.announcement() == "3 programs to build, once: about 5 min on 2 cores"
    assert Progress(outputs=progress.outputs[:1], cores=2).announcement() == "1 program to build, once: about 2 min on 2 cores"


def test_a_slow_machine_is_expected_to_stay_slow(progress, clock, capsys):
    """The first 300 CPU seconds took 600 s instead of 150, so the other 300 take as long."""
    assert progress.expected_seconds() == 300
    progress.start("a", 300)
    clock.now = 600
    report = progress.start("b", 100)
    assert progress.expected_seconds() == 600
    clock.now = 700
    report()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "toolchain: [1/3] a: building, about 2 min; 0% of all done, about 5 min left",
        "toolchain: [2/3] b: building, about 3 min; 50% of all done, about 10 min left",
        "toolchain: [2/3] b: 100 s so far; 58% of all done, about 8 min left",
    ]


def test_a_program_that_takes_longer_than_expected_is_never_more_than_almost_done(progress, clock):
    progress.start("a", 300)
    clock.now = 10_000
    assert progress.expected_seconds() == (600 - 0.95 * 300) / 2


def test_what_another_run_builds_is_not_expected_any_more(progress):
    progress.skip(progress.outputs[:1])
    assert progress.expected_seconds() == 150


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        raise OSError


def test_on_a_terminal_one_line_moves_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(console, "_columns", lambda: 40)
    console.report("first state")
    console.report("second state, which is too long for this terminal")
    console.say("done")
    assert sys.stderr.getvalue().split("\r\033[K") == [
        "",
        "toolchain: first state",
        "toolchain: second state, which is too l",
        "toolchain: done\n",
    ]


def test_in_a_log_each_state_is_a_line(capsys):
    console.report("first state")
    console.say("done")
    assert capsys.readouterr().err == "toolchain: first state\ntoolchain: done\n"
    assert console.report_seconds() == 30
