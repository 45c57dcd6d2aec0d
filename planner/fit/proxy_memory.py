"""The memory of the proxy that is the coordinator of engines without one.

Measured by `python -m bench.proxy_memory` with Envoy 1.40.0 and two workers: bench/results/proxy_memory.json.
"""

from __future__ import annotations

from settings.coordinator import Coordinator

SOURCE = "bench/results/proxy_memory.json"

IDLE_MIB = 66.7
CONNECTION_KIB = 16.6
"""KiB of a connected client that asks for nothing."""
REQUEST_KIB = 24.7
"""KiB of a request that is running or waiting, without its body."""
BYTES_A_BODY_BYTE = 1.73
"""Bytes of memory per byte of body: a body is kept until its request is answered, so that it can be sent again, and a second time until a
pipeline takes it."""


def most_requests(coordinator: Coordinator, waiting: int) -> int:
    """Returns the most requests that one coordinator has at once when `waiting` of them may wait. Each has a connection of its own."""
    return min(coordinator.config.max_connections, coordinator.config.connection_pool_size + waiting)


def needed_gib(coordinator: Coordinator, waiting: int) -> float:
    """Returns the GiB that the proxy needs with as many connections and requests as its limits admit, each of the largest size.

    `waiting` is the number of requests that may wait.
    """
    config, limits = coordinator.config, coordinator.limits
    requests = most_requests(coordinator, waiting)
    body_kib = limits.request_size.bytes / 1024 * BYTES_A_BODY_BYTE
    return (IDLE_MIB + (config.max_connections * CONNECTION_KIB + requests * (REQUEST_KIB + body_kib)) / 1024) / 1024
