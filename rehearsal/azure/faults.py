"""Faults on request, each once: `throttle:TYPE`, `500:TYPE`, `quota:TYPE`, `crash:TYPE` (a type is e.g. ManagedCluster).

`throttle` is what the real provider's client retries by itself (429 with Retry-After), so it only takes longer; `500` and
`quota` reach the user; `crash` ends the provider after Azure has made the resource and before the engine has recorded it.
"""

from __future__ import annotations

import os
import time
from typing import NoReturn

from rehearsal.azure.rules import Refused
from rehearsal.azure.state import StateFile

KINDS = ("throttle", "500", "quota", "crash")
RETRY_AFTER_S = 2


def parse(text: str) -> list[tuple[str, str]]:
    """Parses `throttle:A,500:B` into pairs. Raises ValueError for an unknown fault."""
    faults = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        kind, _, short = item.partition(":")
        if kind not in KINDS or not short:
            raise ValueError(f"no fault '{item}': write one of {', '.join(k + ':TYPE' for k in KINDS)}, e.g. 500:AgentPool")
        faults.append((kind, short))
    return faults


class Faults:
    """The faults of a rehearsal. The state file records which of them have happened."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._wanted = parse(os.environ.get("REHEARSAL_FAULTS", ""))

    def before(self, short: str) -> str | None:
        """Fails or waits before Azure does anything. Returns a note for the user, if there is one."""
        if self._fire("500", short):
            raise Refused(
                "InternalServerError",
                "The server encountered an internal error, please retry. If the problem persists, please contact support. (injected)",
            )
        if self._fire("quota", short):
            raise Refused(
                "QuotaExceeded",
                "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. (injected)",
            )
        if self._fire("throttle", short):
            time.sleep(RETRY_AFTER_S)
            message = "The request is being throttled as the limit has been reached."
            return f'Code="TooManyRequests" Message="{message}" (injected); retried after {RETRY_AFTER_S} s'
        return None

    def after(self, short: str) -> None:
        """Ends the process, if asked to, after Azure has created the resource."""
        if self._fire("crash", short):
            _crash()

    def _fire(self, kind: str, short: str) -> bool:
        name = f"{kind}:{short}"
        if (kind, short) not in self._wanted:
            return False
        with self._state.change() as cloud:
            if name in cloud.content["fired"]:
                return False
            cloud.content["fired"].append(name)
        return True


def _crash() -> NoReturn:
    os._exit(70)
