"""A headless Chromium for tests, told what to do by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "Google Chrome")
# No sandbox, as tests run as root in containers; nothing that looks for the network at start.
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
_SECONDS = 120


@dataclass
class Page:
    socket: websocket.WebSocket
    events: list[dict[str, Any]] = field(default_factory=list)
    """The events of the page so far: requests, console messages, exceptions."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, file: Path, *, width: int, scheme: str) -> None:
        """Show a file in a window of this width, in the `light` or `dark` colour scheme, and wait until it is laid out."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=file.as_uri())
        deadline = time.monotonic() + _SECONDS
        while self.value("document.readyState") != "complete" or self.value("location.href") == "about:blank":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, file: Path, *, width: int) -> None:
        """The whole page as PNG."""
        clip = {"x": 0, "y": 0, "width": width, "height": self.value("document.documentElement.scrollHeight"), "scale": 1}
        shown = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shown["data"]))


@contextmanager
def browser(folder: Path) -> Generator[Page]:
    """A page of a browser that keeps its profile in `folder`. Fails where there is no browser: a skipped test would prove nothing."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, f"no browser on PATH ({', '.join(NAMES)}); `make toolchain` gets one on Linux, else install Chromium or Chrome"
    command = [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        port = _port(process.stderr)
        # Else a full pipe would stop it.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
            [target] = [one for one in json.load(answer) if one["type"] == "page"]
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=_SECONDS)
        try:
            yield Page(socket=socket)
        finally:
            socket.close()
    finally:
        process.kill()
        process.wait()


def _port(lines: Iterable[str]) -> str:
    said = []
    for line in lines:
        said.append(line)
        if found := re.search(r"DevTools listening on ws://[^:]+:(\d+)/", line):
            return found[1]
    raise AssertionError(f"the browser ended before it listened: {''.join(said)[-2000:]}")
