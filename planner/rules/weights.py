"""Weights on their way to a pod: whether a node's disk holds a copy, and whether a pod is given enough time to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.catalogue import local_disk, model_shapes
from planner.catalogue.model_names import named_in
from planner.fit import weights
from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules
from settings.wording import count

RULES = Rules()

_CACHE_SHARE = 0.8
"""The part of a disk that blobfuse's file cache takes."""
_L2_CACHE = ("caching", "l2Cache")
_DISKS = "planner/catalogue/local_disk.py, planner/catalogue/data/gpu_sizes.csv"


@RULES.rule
def node_copy(context: RuleContext) -> Iterator[Finding]:
    """For engines without a weight cache of their own, the node's copy of the weights is the second cache level."""
    settings, cache, size = context.settings, context.settings.caching.l2_cache, context.size
    if context.traits.own_weight_cache or not cache.enabled:
        return
    if settings.model.source is None:
        yield Finding(
            code="WEIGHTS-001",
            outcome="not supported",
            path=(*_L2_CACHE, "enabled"),
            value=False,
            because="a node copies only weights that were fetched and verified, and without model.source none are: shards read the weight "
            "storage",
            source="docs/adr/0008-weights-arrive-once.md",
        )
        return
    needed_gib, room_gib = weights.stored_gib(settings, context.shape), local_disk.room_for_weights_gib(size, settings.gpu_pool.os_disk_gib)
    if room_gib is None or room_gib < needed_gib:
        room = "no known local disk" if room_gib is None else f"{room_gib:.0f} GiB of local disk beside the operating system"
        yield Finding(
            code="WEIGHTS-002",
            outcome="not supported",
            path=(*_L2_CACHE, "enabled"),
            value=False,
            because=f"a {size.name} has {room}, and the weights take {needed_gib:.1f} GiB: shards read the weight storage at each start",
            source=_DISKS,
        )
        return
    if cache.size.gib < needed_gib:
        yield Finding(
            code="WEIGHTS-003",
            outcome="adjusted",
            path=(*_L2_CACHE, "size"),
            value=f"{math.ceil(needed_gib)}Gi",
            because=f"a partial copy is of no use, and the weights take {needed_gib:.1f} GiB of the {room_gib:.0f} GiB of the node's disk",
            source=_DISKS,
        )
    if room_gib < 2 * needed_gib:
        yield Finding(
            code="WEIGHTS-005",
            outcome="noted",
            severity="info",
            path=("model", "source"),
            because=f"the {room_gib:.0f} GiB of a node's disk hold one copy of {needed_gib:.1f} GiB, but not the next model's beside it "
            "while pods still read the first: another model of that size needs new nodes, which a change of gpuPool.osDiskGib creates",
            source="docs/adr/0011-earlier-weights-go-by-age.md",
        )


@RULES.rule
def read_in_one_piece(context: RuleContext) -> Iterator[Finding]:
    """A file that is read from the storage must fit the node's own disk: the driver fetches it whole before anybody reads of it.

    The driver is blobfuse with its file cache, which takes 80 % of the disk. Sources: kubernetes-sigs/blob-csi-driver issue 370,
    Azure/azure-storage-fuse issue 87.
    """
    settings, size = context.settings, context.size
    if context.traits.weights_file is None or weights.copied_to_nodes(settings):
        return
    needed_gib = weights.stored_gib(settings, context.shape)
    disk_gib = local_disk.cache_gib(size, settings.gpu_pool.os_disk_gib)
    if needed_gib > _CACHE_SHARE * disk_gib:
        yield Finding(
            code="WEIGHTS-008",
            outcome="noted",
            path=("gpuPool", "vmSize"),
            because=f"the weights are one file of {needed_gib:.1f} GiB, and a shard that reads it from the weight storage first fetches it "
            f"to a disk of its node, of which a {size.name} has {disk_gib:.0f} GiB for it: it would never open. Set model.source, with "
            "which each node copies the file to its largest disk, or choose a gpuPool.vmSize with a larger temporary disk",
            source="kubernetes-sigs/blob-csi-driver issue 370; planner/catalogue/data/gpu_sizes.csv",
        )


@RULES.rule
def load_timeout(context: RuleContext) -> Iterator[Finding]:
    """The startup probe must allow the time that the pods of a node need to read their weights."""
    settings, size = context.settings, context.size
    load_s, timeout = weights.load_s(settings, size, context.shape), settings.rollout.model_load_timeout
    place = "the node's disk" if weights.copied_to_nodes(settings) else "the weight storage"
    if timeout.seconds < weights.MARGIN * load_s:
        yield Finding(
            code="WEIGHTS-004",
            outcome="adjusted",
            path=("rollout", "modelLoadTimeout"),
            value=f"{math.ceil(weights.MARGIN * load_s / 60)}m",
            because=f"the pods of a {size.name} read their weights from {place} in {load_s:.0f} s, at "
            f"{weights.load_mb_s(settings, size):.0f} MB/s for all of them, and {weights.MARGIN} times that is allowed: with a shorter "
            "timeout the probe would kill a server that is still loading, again and again",
            source="planner/fit/weights.py",
        )


@RULES.rule
def nobody_answers_meanwhile(context: RuleContext) -> Iterator[Finding]:
    """Says when an update stops every pipeline before a new one is ready."""
    settings, pipelines = context.settings, context.settings.sharding.pipelines
    if settings.rollout.max_unavailable_pipelines < pipelines:
        return
    load_s = weights.load_s(settings, context.size, context.shape)
    yield Finding(
        code="ROLL-002",
        outcome="noted",
        severity="info",
        path=("rollout", "maxUnavailablePipelines"),
        because=f"with {count(pipelines, 'pipeline')}, each change of the shards stops the service until a pipeline is back, which reads "
        f"its weights in {load_s:.0f} s and starts besides. To stay in service, run more pipelines than may be unavailable, or set "
        "rollout: {maxUnavailablePipelines: 0, maxSurgePipelines: 1} and a gpuPool.maxNodes with room for one more pipeline",
        source="kubernetes-sigs/lws issue 688; planner/fit/weights.py",
    )


@RULES.rule
def model_of_the_source(context: RuleContext) -> Iterator[Finding]:
    """Says when the repository's name does not name the model.

    A repository whose name plainly names another model is refused (`planner.fit.weights.source_problems`).
    """
    source, model = context.settings.model.weight_source, context.settings.model
    if source is None or source.repository is None or model.shape or model.name in named_in(source.repository, model_shapes.models()):
        return
    yield Finding(
        code="WEIGHTS-006",
        outcome="noted",
        severity="info",
        path=("model", "source"),
        because=f"the name of {source.repository} does not say that it is {model.name}, and its config.json is not read here: memory, "
        f"layers and times are planned for {model.name}",
        source="planner/catalogue/model_names.py",
    )
