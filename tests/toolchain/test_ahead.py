"""The sources of the next programs are downloaded while others are compiled, and what downloads them ends with the run."""

import os
import sys
import time

import pytest

from tests.toolchain.conftest import executable
from toolchain.ahead import downloading_ahead
from toolchain.golang import Go

pytestmark = pytest.mark.process

SLOW_GO = """#!{python}
import os, sys, time
open({file!r}, "a").write(" ".join(sys.argv[1:]) + " " + str(os.getpid()) + "\\n")
time.sleep({seconds})
"""


@pytest.fixture
def listed(tmp_path, cache):
    """`listed(seconds)` is a Go whose every call takes so long, and the file of its calls."""

    def make(seconds):
        file = tmp_path / "calls"
        program = executable(tmp_path / "go", SLOW_GO.format(python=sys.executable, file=str(file), seconds=seconds))
        return lambda: Go(program=str(program), cache=cache), file

    return make


def until_called(file, times):
    deadline = time.monotonic() + 30
    while not file.exists() or len(file.read_text().splitlines()) < times:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_each_program_s_sources_are_asked_for(listed, recipe, pins):
    go, file = listed(0)
    with downloading_ahead([recipe, recipe], go, pins):
        until_called(file, 2)
    asked = "list -deps -tags= example.org/thing/first example.org/thing/second "
    assert all(line.startswith(asked) for line in file.read_text().splitlines())


def test_the_end_of_a_run_does_not_wait_for_a_download(listed, recipe, pins):
    go, file = listed(3600)
    with pytest.raises(KeyboardInterrupt), downloading_ahead([recipe, recipe], go, pins):
        until_called(file, 1)
        raise KeyboardInterrupt
    [call] = file.read_text().splitlines()
    with pytest.raises(ProcessLookupError):
        os.kill(int(call.split()[-1]), 0)
