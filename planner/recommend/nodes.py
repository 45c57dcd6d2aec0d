"""How many nodes a layout takes in each zone, and how many of its pipelines survive the loss of some."""

from __future__ import annotations

from planner.fit.layout import keeps_pipelines_together, nodes_by_zone
from planner.fit.placement import shares
from settings import StackSettings


def nodes(settings: StackSettings, per_node: int, pipelines: int) -> list[int]:
    """Returns the nodes of each zone; `per_node` is the number of shards on a node."""
    zones = min(len(settings.gpu_pool.zones), pipelines) if keeps_pipelines_together(settings) else 1
    return nodes_by_zone(pipelines, settings.sharding.shards_count, per_node, zones)


def surviving(settings: StackSettings, per_node: int, least: int, lost_nodes: int, most: int) -> int:
    """Returns the fewest pipelines of which `least` still run when `lost_nodes` nodes are lost.

    The result is above `most` where even `most` pipelines are too few.
    """
    if not lost_nodes:
        return least
    pipelines = least
    while pipelines <= most and pipelines - lost_nodes * _lost(settings, per_node, pipelines) < least:
        pipelines += 1
    return pipelines


def _lost(settings: StackSettings, per_node: int, pipelines: int) -> int:
    """Pipelines with a shard on the node that serves the most of them. The shards of a zone are dealt to its nodes in turn."""
    stages, zone_nodes = settings.sharding.shards_count, nodes(settings, per_node, pipelines)
    dealt = zip(shares(pipelines, len(zone_nodes)), zone_nodes, strict=True)
    return max(len({shard // stages for shard in range(0, number * stages, step)}) for number, step in dealt)
