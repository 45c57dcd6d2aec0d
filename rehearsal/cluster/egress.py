"""The way from the API server into the cluster's network: a small CONNECT proxy on a unix socket.

AKS's API server reaches webhooks through konnectivity; here it asks this proxy for `CLUSTER-IP:PORT`. The proxy knows
which local process stands behind an address (`routes`), and refuses the rest, as a network without such a pod would.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

Routes = dict[str, int]  # "CLUSTER-IP:PORT" -> local port


class EgressProxy:
    """A proxy that serves until the process ends."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.routes: Routes = {}

    def start(self) -> None:
        """Listens in its own thread, and returns once the socket exists."""
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True, name="egress").start()
        ready.wait(10)

    async def _serve(self, ready: threading.Event) -> None:
        self.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._accept, path=str(self.socket))
        ready.set()
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            port = self.routes.get(target)
            if port is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            near_reader, near_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await asyncio.gather(_copy(reader, near_writer), _copy(near_reader, writer))
        except (OSError, asyncio.IncompleteReadError, IndexError):
            pass  # the caller went away or nobody listens: the API server reports it
        finally:
            with contextlib.suppress(OSError):
                writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
