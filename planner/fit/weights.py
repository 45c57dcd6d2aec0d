"""The model's weights: in which folder they are, how much they are, and how long they take on their way to a pod.

The network's and the storage's rates are what Azure names as the most, so what waits for them allows `MARGIN` times as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.catalogue import model_names, model_shapes
from planner.catalogue.hardware import GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import EngineTraits, traits
from planner.fit import checkpoints
from planner.fit.plan import WeightsPlan
from planner.fit.stack_memory import precisions
from settings import Problem, StackSettings
from settings.weight_source import WeightSource

MARGIN = 2

SLOWEST_FETCH_MB_S = 50
"""An allowance, not a published figure: how slow the way from a source to the storage may be before a deployment gives up waiting."""
SLOWEST_DISK_MB_S = 200
"""Another: Azure publishes the speed of no GPU size's local disk."""
SLOWEST_NETWORK_MBPS = 8000
"""For sizes whose page states none: the least that any size of the catalogue has."""
GRANT_S = 900
"""Another allowance: until a new role is known everywhere, a pod has a node, and its image is pulled."""

_FAST_EGRESS_MBPS, _EGRESS_MBPS = 200_000, 50_000
_FAST_REGIONS = """
southafricanorth brazilsouth canadacentral centralus eastus eastus2 northcentralus southcentralus westus westus2 westus3 australiaeast
centralindia eastasia japaneast jioindiawest koreacentral southeastasia francecentral germanywestcentral northeurope norwayeast
swedencentral uksouth westeurope usgovarizona usgovvirginia
"""
"""Default egress of a general-purpose v2 account, all clients together; more on request.

Source: MicrosoftDocs/azure-docs includes/azure-storage-account-limits-standard.md (2025-11-12).
"""


def copied_to_nodes(settings: StackSettings) -> bool:
    """Whether each node keeps a copy on its own disk: the guide's second cache level, for engines that have none of their own."""
    return settings.model.source is not None and settings.caching.l2_cache.enabled and not traits(settings.engine).own_weight_cache


def weights_plan(settings: StackSettings, size: GpuSize, shape: ModelShape) -> WeightsPlan:
    model = settings.model
    source = model.weight_source
    gib = stored_gib(settings, shape)
    return WeightsPlan(
        source=model.source,
        folder=f"{re.sub(_NO_NAME, '-', model.name)}-{source.hash}" if source else model.name,
        file=traits(settings.engine).weights_file,
        safetensors_only=_reads_safetensors(traits(settings.engine)),
        gib=gib,
        # Written, and read back once.
        fetch_wait_s=GRANT_S + 2 * _seconds(gib, SLOWEST_FETCH_MB_S),
        on_node=copied_to_nodes(settings),
        storage_mb_s=storage_mb_s(settings, size),
        load_mb_s=load_mb_s(settings, size),
        copy_s=_seconds(gib, storage_mb_s(settings, size)),
        load_s=load_s(settings, size, shape),
    )


_NO_NAME = r"[^A-Za-z0-9._-]"


def stored_gib(settings: StackSettings, shape: ModelShape) -> float:
    """What the files take that are fetched, stored, copied and loaded.

    An engine of one file reads GGUF of the precision that is served; vLLM a checkpoint that was quantized before. An image of the user's
    own quantizes what it reads itself, as far as anyone here knows, so the model is counted as it was published.
    """
    engine, precision = traits(settings.engine), precisions(settings)[0]
    if engine.weights_file is not None:
        return checkpoints.gguf_gib(shape, precision)
    return checkpoints.quantized_gib(shape, precision) if engine.proxied else checkpoints.published_gib(shape)


def storage_mb_s(settings: StackSettings, size: GpuSize) -> float:
    """What one node gets of the weight storage while all of them read: its network, or its part of the account's egress."""
    account = _FAST_EGRESS_MBPS if settings.azure.location in _FAST_REGIONS.split() else _EGRESS_MBPS
    nodes = settings.sharding.pipelines * settings.sharding.shards_count
    return min(size.network_mbps or SLOWEST_NETWORK_MBPS, account / nodes) / 8


def load_mb_s(settings: StackSettings, size: GpuSize) -> float:
    """What all pods of a node get together at their start."""
    return SLOWEST_DISK_MB_S if copied_to_nodes(settings) else storage_mb_s(settings, size)


def load_s(settings: StackSettings, size: GpuSize, shape: ModelShape) -> float:
    """Seconds from a pod's start until all pods of its node have read their weights, from the node's disk or from the storage."""
    pods = max(1, size.gpus // max(1, settings.shard.resources.limits.nvidia_gpu or 1))
    each_gib = stored_gib(settings, shape) / (1 if traits(settings.engine).whole_pipeline_in_a_pod else settings.sharding.shards_count)
    return _seconds(each_gib * pods, load_mb_s(settings, size))


def _seconds(gib: float, mb_s: float) -> float:
    return gib * 2**30 / (mb_s * 1e6)


def source_problems(settings: StackSettings) -> list[Problem]:
    """A source that the engine could not read, however it is fetched."""
    source, engine = settings.model.weight_source, traits(settings.engine)
    if source is None:
        return []
    return [*_of_another_model(settings, source), *_in_another_format(settings, source, engine)]


def _in_another_format(settings: StackSettings, source: WeightSource, engine: EngineTraits) -> list[Problem]:
    if engine.weights_file is None:
        if not _reads_safetensors(engine):
            return []
        gguf = source.repository is not None and source.repository.lower().endswith("-gguf")
        return [_one_file_for_a_folder(settings, source)] if source.file else [_gguf_for_a_folder(settings, source)] if gguf else []
    if source.many:
        return [
            Problem(
                key="model.source",
                value=source.text,
                consequence=f"{settings.engine} reads one GGUF file, and this is a whole model or a folder",
                fix=f"the file at its end: {source.text.rstrip('/')}/FILE.gguf",
            )
        ]
    if source.part_of_several:
        return [
            Problem(
                key="model.source",
                value=source.text,
                consequence="is one of several parts of a model: the others would be missing",
                fix="a model in one file: `llama-gguf-split --merge` makes one, for a blob path or an OCI artifact",
            )
        ]
    if source.file and source.file.lower().endswith(_NOT_GGUF):
        return [
            Problem(
                key="model.source",
                value=source.text,
                consequence=f"{settings.engine} reads GGUF, and {source.file} is in another format: it would stop when it loads the model",
                fix="a file that ends with .gguf; llama.cpp's convert_hf_to_gguf.py makes one of safetensors",
            )
        ]
    return []


_NOT_GGUF = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx", ".json", ".zip", ".tar", ".gz")


def _reads_safetensors(engine: EngineTraits) -> bool:
    """vLLM, as it is told; what an image of the user's own reads, they know."""
    return engine.proxied and engine.weights_file is None


def _gguf_for_a_folder(settings: StackSettings, source: WeightSource) -> Problem:
    return Problem(
        key="model.source",
        value=source.text,
        consequence=f"{settings.engine} loads safetensors, and {source.repository} is by its name a collection of GGUF files: all of them "
        "would be fetched, and none of them loaded",
        fix="the model as it was published, in safetensors: hf://org/name@COMMIT; or engine: llama_cpp with one of the files",
    )


def _one_file_for_a_folder(settings: StackSettings, source: WeightSource) -> Problem:
    return Problem(
        key="model.source",
        value=source.text,
        consequence=f"{settings.engine} reads a model's folder, with its config.json and tokenizer, and this is one file: it would stop at "
        "start",
        fix="the model as it was published, in safetensors: hf://org/name@COMMIT, a blob path that ends with /, or an OCI artifact",
    )


def _of_another_model(settings: StackSettings, source: WeightSource) -> Iterator[Problem]:
    """A repository whose name contradicts `model.name`. A `model.shape` is the user's own word for what they have."""
    name, repository, known = settings.model.name, source.repository, model_shapes.models()
    if repository is None or settings.model.shape is not None:
        return
    named, stated = model_names.named_in(repository, known), model_names.sizes(repository)
    if name in named or not (named or (stated and model_names.sizes(name) and not stated & model_names.sizes(name))):
        return
    # The longest is the most particular: qwen3-30b-a3b.
    is_of = max(named, key=len) if named else None
    yield Problem(
        key="model.name",
        value=name,
        consequence=f"model.source fetches {repository}, by its name another model: memory, layers and times would be planned for {name}, "
        "and clients would be told that name",
        fix=f"model.name: {is_of}, or a model.source of {name}"
        if is_of
        else f"a model.source of {name}; for this one, its name and its config.json's figures in model.shape, as the catalogue lacks it",
    )
