"""Ends an `up` that waits for pods which no node can take."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Generator
from typing import Any

from rehearsal.engine import Engine
from rehearsal.layout import Layout

UNSCHEDULABLE_S = 25  # longer than a node or a GPU needs to appear after its pod, shorter than anyone wants to wait


@contextlib.contextmanager
def scheduling_watch(layout: Layout, engine: Engine) -> Generator[list[dict[str, Any]]]:
    """Interrupts the engine when pods stay unschedulable for `UNSCHEDULABLE_S`. Yields the list that then contains them."""
    stuck: list[dict[str, Any]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            try:
                pending = json.loads(layout.pending.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            hopeless = [pod for pod in pending if time.time() - pod["since"] > UNSCHEDULABLE_S]
            if hopeless:
                stuck.extend(hopeless)
                engine.interrupt()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield stuck
    finally:
        over.set()
        thread.join(20)
