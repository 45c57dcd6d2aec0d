"""Free TCP ports for processes of this machine."""

from __future__ import annotations

import contextlib
import random
import socket


def free_ports(count: int, *addresses: str) -> list[int]:
    """Some at random, each free on all of the addresses (127.0.0.1 when none is named). Raises OSError when there are fewer.

    Below those that a system gives to outgoing connections: one of these could be gone before its program listens, or a client that asks
    whether it listens already could be given the very port it asks for, and talk to itself.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 30_000), 10_000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as sockets:
            for address in addresses or ("127.0.0.1",):
                sockets.enter_context(socket.socket()).bind((address, port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} TCP ports between 20000 and 29999 are free on {', '.join(addresses) or '127.0.0.1'}")


def free_port() -> int:
    """A TCP port that nothing listens on."""
    return free_ports(1)[0]
