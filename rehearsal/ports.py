"""Finds free TCP ports on this machine."""

from __future__ import annotations

import contextlib
import random
import socket


def free_ports(count: int, *addresses: str) -> list[int]:
    """Returns random ports, each free on all of the addresses (127.0.0.1 if none is given). Raises OSError if there are too few.

    The ports are below those that systems use for outgoing connections. One of those could be taken before its program listens, or a client
    that probes it could be given the very port that it probes, and connect to itself.
    """
    ports: list[int] = []
    for port in random.sample(range(20_000, 30_000), 10_000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as sockets:
            for address in addresses or ("127.0.0.1",):
                sockets.enter_context(socket.socket()).bind((address, port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"fewer than {count} TCP ports between 20000 and 29999 are free on {', '.join(addresses) or '127.0.0.1'}")


def free_port() -> int:
    """Returns a TCP port that nothing listens on."""
    return free_ports(1)[0]
