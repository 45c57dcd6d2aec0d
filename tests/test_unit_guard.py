"""A unit test that starts a process or speaks to another machine fails at the call."""

import os
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize("start", [lambda: subprocess.run([sys.executable, "-c", ""]), lambda: os.system("true"), os.fork])
def test_no_process_starts(start):
    with pytest.raises(pytest.fail.Exception, match=r"starts a process .* lacks the marker `process`"):
        start()


@pytest.mark.parametrize("reach", [lambda: socket.create_connection(("192.0.2.1", 80), 1), lambda: socket.getaddrinfo("example.org", 80)])
def test_no_other_machine_is_spoken_to(reach):
    with pytest.raises(pytest.fail.Exception, match=r"speaks to .* lacks the marker `process`"):
        reach()


def test_a_server_of_its_own_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5):
        pass


@pytest.mark.process
def test_a_marked_test_may():
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0
