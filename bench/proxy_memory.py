"""Measures the memory of the coordinator for engines that have none: the real proxy with dev's configuration, at its limits.

    python -m bench.proxy_memory [--cpus 2]

`idle`: started, nobody asks. `connections`: as many clients as `coordinator.config.maxConnections` allows, each with a connection that
was used once. `requests`: as many requests as may be on their way or wait, with bodies of two sizes, so that what a request costs by
itself and what a byte of its body costs can be told apart. Resident memory as the kernel counts it, which a pod's limit is about.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import yaml

from engines.envoy.config import ADMIN_PORT
from planner.fit import proxy_memory
from rehearsal.ports import free_ports
from serve.name_server import NameServer
from serve.rendering import render
from serve.substitutions import HOST, Around, coordinator_command
from settings import files
from settings.coordinator import CoordinatorLimits

STACK = "dev"
"""The stack that is measured; its coordinator has the guide's limits, as prod's has."""
RESULT = files.ROOT / "bench" / "results" / "proxy_memory.json"
UPSTREAM = "127.0.1.1"
BODIES_KIB = (64, 512)
WAITING = CoordinatorLimits().queued_requests
"""The default length of the queue. A waiting request costs more per byte than a running one, so a long queue is measured."""
MIB = 2**20

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, kw_only=True)
class Proxy:
    pid: int
    port: int

    def resident_mib(self) -> float:
        [line] = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


async def _pipeline(port: int, answered: asyncio.Event) -> asyncio.Server:
    """A server that is healthy and answers POST requests only when it is told to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(int(length[0]) if length else 0)
                if head.startswith("POST"):
                    await answered.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, UPSTREAM, port, backlog=1000)


@contextlib.contextmanager
def _proxy(port: int, cpus: int, requests: int) -> Generator[Proxy]:
    rendered = render(files.stack_file_path(STACK), STACK, 1)
    server = rendered.workload.coordinator
    here = dict(zip((*(each.number for each in server.ports), ADMIN_PORT), free_ports(3), strict=True))
    names = NameServer(HOST, rendered.leaders, lambda: [UPSTREAM])
    names.start()
    with tempfile.TemporaryDirectory() as folder:
        around = Around(folder=Path(folder), ports=here, names={rendered.leaders: port}, name_server=names.port, secrets=None)
        command, written = coordinator_command(server, around)
        for name, content in written.items():
            (Path(folder) / name).write_text(_with_one_pipeline_for_all(content, requests))
        arguments = list(command.arguments)
        arguments[arguments.index("--concurrency") + 1] = str(cpus)
        process = subprocess.Popen([*arguments, "--log-level", "error"])
        try:
            yield Proxy(pid=process.pid, port=here[rendered.workload.serving_ports[0].number])
        finally:
            process.kill()
            process.wait()
            names.close()


async def _grown(proxy: Proxy) -> float:
    """Returns the MiB once they have not changed for ten seconds, so that all bodies have arrived even on a busy machine."""
    seen = [0.0]
    while len(seen) < 10 or max(seen[-10:]) - min(seen[-10:]) > 0.5:
        await asyncio.sleep(1)
        seen.append(proxy.resident_mib())
    return seen[-1]


def _with_one_pipeline_for_all(content: str, requests: int) -> str:
    """Changes the configuration so that the only pipeline takes as many requests as all pipelines of a service would."""
    document = yaml.safe_load(content)
    breakers = document["static_resources"]["clusters"][0]["circuit_breakers"]
    del breakers["per_host_thresholds"]
    # All come at once, and one whose connection is being opened counts as one that waits.
    breakers["thresholds"][0] |= dict.fromkeys(("max_pending_requests", "max_requests", "max_retries"), requests)
    return yaml.safe_dump(document)


async def _asked(connection: Connection, request: bytes) -> None:
    reader, writer = connection
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))


async def _until_healthy(proxy: Proxy) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError, AssertionError, asyncio.IncompleteReadError):
            connection = await asyncio.open_connection(HOST, proxy.port)
            await _asked(connection, b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
            connection[1].close()
            return
        await asyncio.sleep(0.1)
    raise SystemExit("the proxy did not become healthy")


@contextlib.asynccontextmanager
async def _connected(proxy: Proxy, count: int) -> AsyncGenerator[list[Connection]]:
    found: list[Connection] = []
    try:
        for _ in range(count):
            found.append(await asyncio.open_connection(HOST, proxy.port))
        yield found
    finally:
        for _, writer in found:
            writer.close()


async def measure(cpus: int, connections: int, requests: int) -> dict[str, float]:
    """Returns the MiB of each state."""
    answered = asyncio.Event()
    [port] = free_ports(1, UPSTREAM)
    found: dict[str, float] = {}
    async with await _pipeline(port, answered):
        with _proxy(port, cpus, requests) as proxy:
            await _until_healthy(proxy)
            found["idle"] = proxy.resident_mib()
            async with _connected(proxy, connections) as clients:
                for client in clients:
                    await _asked(client, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
                found["connections"] = proxy.resident_mib()
                for kib in BODIES_KIB:
                    head = f"POST /v1/inference HTTP/1.1\r\nhost: x\r\ncontent-length: {kib * 1024}\r\n\r\n".encode()
                    answered.clear()
                    waiting = [asyncio.create_task(_asked(client, head + bytes(kib * 1024))) for client in clients[:requests]]
                    found[f"requests of {kib} KiB"] = await _grown(proxy)
                    answered.set()
                    await asyncio.gather(*waiting)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.proxy_memory", description=__doc__)
    parser.add_argument("--cpus", type=int, default=2, help="the coordinator's, as prod's (default: 2)")
    options = parser.parse_args()
    settings = files.from_file(files.stack_file_path(STACK), STACK).settings
    assert settings is not None
    connections, requests = (
        settings.coordinator.config.max_connections,
        proxy_memory.most_requests(settings.coordinator, WAITING),
    )
    # Both ends of each connection to clients, and of each to the pipeline, are descriptors here.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The last connections are for the health checks of this script.
    found = asyncio.run(measure(options.cpus, connections - 10, requests))
    small, large = (found[f"requests of {kib} KiB"] for kib in BODIES_KIB)
    a_body_byte = (large - small) / (requests * (BODIES_KIB[1] - BODIES_KIB[0]) / 1024)
    report = {
        "cpus": options.cpus,
        "connections": connections - 10,
        "requests": requests,
        "mib": {name: round(mib, 1) for name, mib in found.items()},
        "kib_a_connection": round((found["connections"] - found["idle"]) * 1024 / (connections - 10), 1),
        "bytes_a_body_byte": round(a_body_byte, 2),
        "kib_a_request": round((small - found["connections"]) * 1024 / requests - a_body_byte * BODIES_KIB[0], 1),
    }
    print(json.dumps(report, indent=2))
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
