"""The bounds between which Envoy counts how long requests take, so that a percentile near the target is one to act on.

Its own bounds are 1 s, 2.5 s, 5 s: were every answer to take 1.26 s, the 95th percentile by Prometheus would be 2.4 s.

Envoy counts a time, whole milliseconds, by its first two digits (circllhist's bins), and a bound takes in the whole bin that it lies
in: at a bound of 1,000 ms, 1,065 ms counts as below it. So each bound here is the last millisecond of a bin, and exact.
Field names: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/metrics/v3/stats.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engines.envoy.fields import COORDINATOR
from engines.flags import field

LONGEST_MS = 2 * 3600 * 1000
"""Twice the longest target that settings take."""


def stats_config(target_s: float) -> dict[str, Any]:
    """`stats_config` of the bootstrap, for a service whose requests should take `target_s` seconds."""
    service = {"exact": f"http.{COORDINATOR}.downstream_rq_time"}
    return {"histogram_bucket_settings": [{"match": service, "buckets": field(bounds_ms(target_s), "targets.latency")}]}


def bounds_ms(target_s: float) -> list[int]:
    """Rising bounds in milliseconds.

    Two neighbours are at most a tenth apart from half of the target to twice the target, which bounds the error of a percentile there;
    elsewhere each is half as long again as the one before. The target itself is one, less a millisecond, if it has two digits.
    """
    target_ms = max(1, round(target_s * 1000))
    near = {*_near(target_ms)}
    far = {edge for edge in _far() if edge < min(near) or edge > max(near)}
    return [edge - 1 for edge in sorted(near | far) if edge > 1]


def target_bound_ms(target_s: float) -> int:
    """Returns the bound that tells requests within the target from slower ones: the last one that is not above it."""
    return max(bound for bound in bounds_ms(target_s) if bound <= max(1, round(target_s * 1000)))


def _near(target_ms: int) -> Iterator[int]:
    edge = _edge_below(target_ms)
    while edge >= 1:
        yield edge
        if 2 * edge <= target_ms:
            break
        edge = min(_edge_above(edge * 10 / 11), edge - 1)
    edge = _edge_above(target_ms)
    while True:
        yield edge
        if edge >= 2 * target_ms:
            break
        edge = max(_edge_below(edge * 11 / 10), edge + _bin(edge))


def _far() -> Iterator[int]:
    edge = 2
    while edge <= LONGEST_MS:
        yield edge
        edge = max(_edge_below(edge * 1.5), edge + 1)


def _bin(ms: float) -> int:
    """Width of the bin that a time lies in."""
    return max(1, 10 ** (len(str(int(ms))) - 2))


def _edge_below(ms: float) -> int:
    return int(ms // _bin(ms)) * _bin(ms)


def _edge_above(ms: float) -> int:
    edge = _edge_below(ms)
    return edge if edge == ms else edge + _bin(ms)
