"""What a unit test may not do: start a process, or speak to another machine.

A test that does either carries the marker `process`. Nobody has to remember that: Python itself reports both (PEP 578), and a test
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
    """Name the unit test that runs from now on; None while a marked test runs, or no test."""
    global _unit_test
    _unit_test = test


def _refuse(event, arguments):
    if _unit_test is None:
        return
    if event in STARTS and not (event == "subprocess.Popen" and list(arguments[1][1:3]) == READS_TYPES):
        pytest.fail(f"{_unit_test} starts a process ({event}: {arguments[:2]}) and lacks the marker `process`")
    host = _host(event, arguments)
    if host and not _this_machine(host):
        pytest.fail(f"{_unit_test} speaks to {host} ({event}) and lacks the marker `process`")


def _host(event, arguments):
    if event == "socket.connect":
        _, address = arguments
        return address[0] if isinstance(address, tuple) else None  # a Unix socket's address is a path
    return arguments[0] if event == "socket.getaddrinfo" else None


def _this_machine(host):
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


sys.addaudithook(_refuse)
