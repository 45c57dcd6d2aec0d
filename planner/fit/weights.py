"""The model's weights: their folder, their size, and the time they take on their way to a pod.

The rates of the network and the storage are the highest that Azure states, so timeouts allow `MARGIN` times as long.
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
"""Factor between the shortest possible time and a timeout."""

SLOWEST_FETCH_MB_S = 50
"""The rate from a source to the storage below which a deployment gives up waiting: an allowance, not a published figure."""
SLOWEST_DISK_MB_S = 200
"""The assumed rate of a node's local disk: an allowance too, as Azure publishes it for no GPU size."""
SLOWEST_NETWORK_MBPS = 8000
"""The network of a size whose page states none: the slowest of any size in the catalogue."""
GRANT_S = 900
"""Seconds until a new role is known everywhere, a pod has a node, and its image is pulled: an allowance too."""

_FAST_EGRESS_MBPS, _EGRESS_MBPS = 200_000, 50_000
_FAST_REGIONS = """
southafricanorth brazilsouth canadacentral centralus eastus eastus2 northcentralus southcentralus westus westus2 westus3 australiaeast
centralindia eastasia japaneast jioindiawest koreacentral southeastasia francecentral germanywestcentral northeurope norwayeast
swedencentral uksouth westeurope usgovarizona usgovvirginia
"""
"""The regions where a general-purpose v2 account has the higher default egress for all clients together; Azure grants more on request.

Source: MicrosoftDocs/azure-docs includes/azure-storage-account-limits-standard.md (2025-11-12).
"""


def copied_to_nodes(settings: StackSettings) -> bool:
    """Whether each node keeps a copy on its own disk: the guide's second cache level, for engines without one of their own."""
    return settings.model.source is not None and settings.caching.l2_cache.enabled and not traits(settings.engine).own_weight_cache


def weights_plan(settings: StackSettings, size: GpuSize, shape: ModelShape) -> WeightsPlan:
    """Returns where the weights are, where they come from, and how long they take."""
    model = settings.model
    source = model.weight_source
    gib = stored_gib(settings, shape)
    return WeightsPlan(
        source=model.source,
        folder=f"{re.sub(_NO_NAME, '-', model.name)}-{source.hash}" if source else model.name,
        file=traits(settings.engine).weights_file,
        safetensors_only=_reads_safetensors(traits(settings.engine)),
        gib=gib,
        # The files are written, and read back once.
        fetch_wait_s=GRANT_S + 2 * _seconds(gib, SLOWEST_FETCH_MB_S),
        on_node=copied_to_nodes(settings),
        storage_mb_s=storage_mb_s(settings, size),
        load_mb_s=load_mb_s(settings, size),
        copy_s=_seconds(gib, storage_mb_s(settings, size)),
        load_s=load_s(settings, size, shape),
    )


_NO_NAME = r"[^A-Za-z0-9._-]"


def stored_gib(settings: StackSettings, shape: ModelShape) -> float:
    """Returns the GiB of the files that are fetched, stored, copied and loaded.

    An engine that reads one file reads GGUF in the precision that it serves; vLLM reads a checkpoint that was quantized before. An own
    image is assumed to quantize what it reads, so the model has its published size.
    """
    engine, precision = traits(settings.engine), precisions(settings)[0]
    if engine.weights_file is not None:
        return checkpoints.gguf_gib(shape, precision)
    return checkpoints.quantized_gib(shape, precision) if engine.proxied else checkpoints.published_gib(shape)


def storage_mb_s(settings: StackSettings, size: GpuSize) -> float:
    """Returns the rate at which each node reads the weight storage while all nodes do: its network, or its part of the account's egress."""
    account = _FAST_EGRESS_MBPS if settings.azure.location in _FAST_REGIONS.split() else _EGRESS_MBPS
    nodes = settings.sharding.pipelines * settings.sharding.shards_count
    return min(size.network_mbps or SLOWEST_NETWORK_MBPS, account / nodes) / 8


def load_mb_s(settings: StackSettings, size: GpuSize) -> float:
    """Returns the rate that all pods of a node share at their start."""
    return SLOWEST_DISK_MB_S if copied_to_nodes(settings) else storage_mb_s(settings, size)


def load_s(settings: StackSettings, size: GpuSize, shape: ModelShape) -> float:
    """Returns the seconds until all pods of a node have read their weights, from the node's disk or from the storage."""
    pods = max(1, size.gpus // max(1, settings.shard.resources.limits.nvidia_gpu or 1))
    pod_gib = stored_gib(settings, shape) / (1 if traits(settings.engine).whole_pipeline_in_a_pod else settings.sharding.shards_count)
    return _seconds(pod_gib * pods, load_mb_s(settings, size))


def _seconds(gib: float, mb_s: float) -> float:
    return gib * 2**30 / (mb_s * 1e6)


def source_problems(settings: StackSettings) -> list[Problem]:
    """Returns the problems of a source that the engine cannot read, or that is plainly another model."""
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
                consequence=f"{settings.engine} reads one GGUF file, but this is a whole model or a folder",
                fix=f"add the file: {source.text.rstrip('/')}/FILE.gguf",
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
                consequence=f"{settings.engine} reads GGUF, but {source.file} is in another format: it would crash when it loads the model",
                fix="a file that ends with .gguf; llama.cpp's convert_hf_to_gguf.py makes one of safetensors",
            )
        ]
    return []


_NOT_GGUF = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx", ".json", ".zip", ".tar", ".gz")


def _reads_safetensors(engine: EngineTraits) -> bool:
    """Whether the engine loads safetensors and nothing else: vLLM does; what an own image reads is not known here."""
    return engine.proxied and engine.weights_file is None


def _gguf_for_a_folder(settings: StackSettings, source: WeightSource) -> Problem:
    return Problem(
        key="model.source",
        value=source.text,
        consequence=f"{settings.engine} loads safetensors, but by its name {source.repository} is a collection of GGUF files: all of them "
        "would be fetched, and none could be loaded",
        fix="the model as it was published, in safetensors: hf://org/name@COMMIT; or engine: llama_cpp with one of the files",
    )


def _one_file_for_a_folder(settings: StackSettings, source: WeightSource) -> Problem:
    return Problem(
        key="model.source",
        value=source.text,
        consequence=f"{settings.engine} reads a model's folder, with its config.json and tokenizer, but this is one file: it would crash "
        "at start",
        fix="the model as it was published, in safetensors: hf://org/name@COMMIT, a blob path that ends with /, or an OCI artifact",
    )


def _of_another_model(settings: StackSettings, source: WeightSource) -> Iterator[Problem]:
    """Yields a problem where the repository's name contradicts `model.name`. With a `model.shape`, the user has said what the model is."""
    name, repository, known = settings.model.name, source.repository, model_shapes.models()
    if repository is None or settings.model.shape is not None:
        return
    named, stated = model_names.named_in(repository, known), model_names.sizes(repository)
    if name in named or not (named or (stated and model_names.sizes(name) and not stated & model_names.sizes(name))):
        return
    # The longest name is the most specific one, such as qwen3-30b-a3b.
    other = max(named, key=len) if named else None
    yield Problem(
        key="model.name",
        value=name,
        consequence=f"model.source fetches {repository}, which by its name is another model: memory, layers and times would be planned for "
        f"{name}, and clients would see that name",
        fix=f"model.name: {other}, or a model.source of {name}"
        if other
        else f"a model.source of {name}; for this one, its name and its config.json's figures in model.shape, as the catalogue lacks it",
    )
