"""What memory the proxy takes that is the coordinator of engines which have none.

Measured by `python -m bench.proxy_memory` with Envoy 1.40.0 and two workers: bench/results/proxy_memory.json.
"""

from __future__ import annotations

from settings.coordinator import Coordinator

SOURCE = "bench/results/proxy_memory.json"

IDLE_MIB = 65.0
CONNECTION_KIB = 16.4
"""Of a client that is connected and asks for nothing."""
REQUEST_KIB = 23.0
"""Of a request on its way or waiting, beside its body."""
BYTES_A_BODY_BYTE = 1.72
"""A body is kept until it is answered, so that it can be sent anew, and once more until a pipeline takes it."""


def most_requests(coordinator: Coordinator, waiting: int) -> int:
    """That one coordinator has at once when `waiting` of them may wait: each has a client's connection of its own."""
    return min(coordinator.config.max_connections, coordinator.config.connection_pool_size + waiting)


def needed_gib(coordinator: Coordinator, waiting: int) -> float:
    """With as many connections and requests as its limits let in, each of the largest size; `waiting`: how many of them may wait."""
    config, limits = coordinator.config, coordinator.limits
    requests = most_requests(coordinator, waiting)
    body_kib = limits.request_size.bytes / 1024 * BYTES_A_BODY_BYTE
    return (IDLE_MIB + (config.max_connections * CONNECTION_KIB + requests * (REQUEST_KIB + body_kib)) / 1024) / 1024
