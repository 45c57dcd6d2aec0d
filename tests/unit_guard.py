"""What a unit test may not do: start a process, or speak to another machine.

A test that does either carries the marker `process`. Nothing has to remember that: Python itself reports both (PEP 578), and a test
without the marker fails at the call.
"""

import ipaddress
import sys

import pytest

STARTS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"}
# The stand-in for Azure reads the SDK's types in a Python of its own and keeps them from one run to the next.
READS_TYPES = ["-m", "rehearsal.azure.schema"]

_unit_test = None


def watch(test):
    """The unit test that runs from now on, or None while a marked test, or none, does."""
    global _unit_test
    _unit_test = test


def _refuse(event, arguments):
    if _unit_test is None:
        return
    if event in STARTS and not (event == "subprocess.Popen" and list(arguments[1][1:3]) == READS_TYPES):
        pytest.fail(f"{_unit_test} starts a process ({event}: {arguments[:2]}) and lacks the marker `process`")
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
        if isinstance(host, str | bytes) and not _here(host):
            pytest.fail(f"{_unit_test} speaks to {host} ({event}) and lacks the marker `process`")


def _here(host):
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return name in ("", "localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


sys.addaudithook(_refuse)
