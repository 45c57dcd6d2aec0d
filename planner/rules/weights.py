"""Weights on their way to a pod: whether a node's disk holds a copy, and whether a pod is given the time to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.catalogue import local_disk, model_shapes
from planner.catalogue.model_names import named_in
from planner.fit import weights
from planner.rules.rule import Advice, Situation

_L2_CACHE = ("caching", "l2Cache")
_DISKS = "planner/catalogue/local_disk.py, planner/catalogue/data/gpu_sizes.csv"


def node_copy(at: Situation) -> Iterator[Advice]:
    """For engines without a weight cache of their own, the node's copy is the second cache level."""
    settings, cache = at.settings, at.settings.caching.l2_cache
    if at.traits.own_weight_cache or not cache.enabled:
        return
    if settings.model.source is None:
        yield Advice(
            code="WEIGHTS-001",
            outcome="not supported",
            path=(*_L2_CACHE, "enabled"),
            value=False,
            because="a node copies what was fetched and verified, and without model.source nothing is: shards read the weight storage",
            source="docs/adr/0008-weights-arrive-once.md",
        )
        return
    needed_gib, room_gib = weights.stored_gib(settings, at.shape), local_disk.room_for_weights_gib(at.size, settings.gpu_pool.os_disk_gib)
    if room_gib is None or room_gib < needed_gib:
        room = "no local disk that is known" if room_gib is None else f"{room_gib:.0f} GiB of local disk beside the operating system"
        yield Advice(
            code="WEIGHTS-002",
            outcome="not supported",
            path=(*_L2_CACHE, "enabled"),
            value=False,
            because=f"a {at.size.name} has {room}, and the weights are {needed_gib:.1f} GiB: shards read the weight storage at each start",
            source=_DISKS,
        )
        return
    if cache.size.gib < needed_gib:
        yield Advice(
            code="WEIGHTS-003",
            outcome="adjusted",
            path=(*_L2_CACHE, "size"),
            value=f"{math.ceil(needed_gib)}Gi",
            because=f"a copy is whole or of no use, and the weights are {needed_gib:.1f} GiB of the {room_gib:.0f} of the node's disk",
            source=_DISKS,
        )
    if room_gib < 2 * needed_gib:
        yield Advice(
            code="WEIGHTS-005",
            outcome="noted",
            severity="info",
            path=("model", "source"),
            because=f"the {room_gib:.0f} GiB of a node's disk hold one copy of {needed_gib:.1f} GiB and not the next beside it, while pods "
            "still read the first: another model of that size needs new nodes too, as another gpuPool.osDiskGib makes them",
            source="docs/adr/0011-earlier-weights-go-by-age.md",
        )


def stated_size(at: Situation) -> Iterator[Advice]:
    """A claim must name a size, and nothing holds blob storage to it. Nothing is changed: a claim that is bound keeps its size, and
    another one would wait until no pod uses it."""
    stated, needed_gib = at.settings.azure.weights_size, weights.stored_gib(at.settings, at.shape)
    if stated.gib < needed_gib:
        yield Advice(
            code="WEIGHTS-007",
            outcome="noted",
            severity="info",
            path=("azure", "weightsSize"),
            because=f"the weights are {needed_gib:.1f} GiB. Blob storage holds them all the same, but Kubernetes counts and shows the "
            f"volume as smaller than it is. Before the first `up`: azure: {{weightsSize: {math.ceil(needed_gib)}Gi}}, or more to keep "
            "several models",
            source="infra/kubernetes/weights/volume.py",
        )


def load_timeout(at: Situation) -> Iterator[Advice]:
    load_s, timeout = weights.load_s(at.settings, at.size, at.shape), at.settings.rollout.model_load_timeout
    place = "the node's disk" if weights.copied_to_nodes(at.settings) else "the weight storage"
    if timeout.seconds < weights.MARGIN * load_s:
        yield Advice(
            code="WEIGHTS-004",
            outcome="adjusted",
            path=("rollout", "modelLoadTimeout"),
            value=f"{math.ceil(weights.MARGIN * load_s / 60)}m",
            because=f"the pods of a {at.size.name} read their weights from {place} in {load_s:.0f} s, at "
            f"{weights.load_mb_s(at.settings, at.size):.0f} MB/s for all of them, and {weights.MARGIN} times that is allowed: a probe that "
            "ends sooner kills a server that is loading, again and again",
            source="planner/fit/weights.py",
        )


def model_of_the_source(at: Situation) -> Iterator[Advice]:
    """A repository that is plainly another model's is refused (`planner.weights.source_problems`)."""
    source, model = at.settings.model.weight_source, at.settings.model
    if source is None or source.repository is None or model.shape or model.name in named_in(source.repository, model_shapes.models()):
        return
    yield Advice(
        code="WEIGHTS-006",
        outcome="noted",
        severity="info",
        path=("model", "source"),
        because=f"the name of {source.repository} does not say that it is {model.name}, and nothing here reads its config.json: memory, "
        f"layers and times are planned for {model.name}",
        source="planner/catalogue/model_names.py",
    )


RULES = (node_copy, stated_size, load_timeout, model_of_the_source)
