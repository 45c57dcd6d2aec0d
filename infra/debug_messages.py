"""Sends the SDK's debug messages to the engine together, which only `pulumi --debug` shows.

The SDK reports five steps of each resource with `pulumi.log.debug`, and waits for the engine's answer to each: 530 calls in a preview of
prod. The engine does not tell the program whether anybody reads them, so none is left out; they arrive at most `DELAY_S` later.
docs/adr/0019-debug-messages-are-sent-together.md has the reasons and the figures.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable

import pulumi

DELAY_S = 0.1
AT_MOST = 100
"""Messages in one call, so that few are lost with a program that is killed while its event loop waits for it."""

Log = Callable[..., None]


def send_together() -> None:
    """Applies to all debug messages of this process from now on."""
    vars(pulumi.log)["debug"] = _Together(pulumi.log.debug).debug  # an assignment would have to be of a function


class _Together:
    """Stands for `pulumi.log.debug`. Messages about one resource, and those outside an event loop, are sent at once."""

    def __init__(self, send: Log) -> None:
        self._send = send
        self._kept: list[str] = []
        atexit.register(self._flush)

    def debug(self, msg: str, *others: object, **options: object) -> None:
        """Keeps the message for the next call of the engine."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or any(others) or any(options.values()):
            self._send(msg, *others, **options)
            return
        if not self._kept:
            loop.call_later(DELAY_S, self._flush)
        self._kept.append(msg)
        if len(self._kept) == AT_MOST:
            self._flush()

    def _flush(self) -> None:
        if kept := self._kept:
            self._kept = []
            self._send("\n".join(kept))
