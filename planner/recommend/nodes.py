"""Nodes of a layout, zone by zone, and how many pipelines outlive the loss of some."""

from __future__ import annotations

from planner.fit.layout import keeps_pipelines_together, nodes_by_zone
from planner.fit.placement import shares
from settings import StackSettings


def nodes(settings: StackSettings, per_node: int, pipelines: int) -> list[int]:
    """Of each zone, with so many shards a node."""
    zones = min(len(settings.gpu_pool.zones), pipelines) if keeps_pipelines_together(settings) else 1
    return nodes_by_zone(pipelines, settings.sharding.shards_count, per_node, zones)


def surviving(settings: StackSettings, per_node: int, least: int, lost_nodes: int, most: int) -> int:
    """The fewest pipelines of which `least` are left when so many nodes are lost; more than `most` where even that is too few."""
    if not lost_nodes:
        return least
    pipelines = least
    while pipelines <= most and pipelines - lost_nodes * _lost(settings, per_node, pipelines) < least:
        pipelines += 1
    return pipelines


def _lost(settings: StackSettings, per_node: int, pipelines: int) -> int:
    """Pipelines that have a shard on the node with the most: each zone's shards are dealt to its nodes in turn."""
    stages, there = settings.sharding.shards_count, nodes(settings, per_node, pipelines)
    dealt = zip(shares(pipelines, len(there)), there, strict=True)
    return max(len({shard // stages for shard in range(0, count * stages, step)}) for count, step in dealt)
