"""The settings that llama-server has no flag for, with the reason and what to use instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engines.flags import without_flag
from engines.llama_cpp.command_line import README, SOURCE
from engines.pods import ANY_PIPELINE, switches, thread_pinning
from planner.engine_facts import traits
from settings import StackSettings
from settings.account import Effect

_ONE_PROCESS = "a pipeline is one process: no tensors cross the network"
_WITHOUT_FLAG: tuple[tuple[str, str, str], ...] = (
    (
        "shard.config.enableMixedPrecision",
        "there is no such switch: the kernel of each tensor follows from its type in the GGUF file",
        f"{SOURCE} ggml/src/ggml-cuda/ggml-cuda.cu",
    ),
    ("shard.config.serializationFormat", _ONE_PROCESS, README),
    ("shard.config.compressionEnabled", _ONE_PROCESS, README),
    ("shard.config.compressionAlgorithm", _ONE_PROCESS, README),
    (
        "model.quantization.method",
        "the GGUF file states the type of each tensor itself",
        f"{SOURCE} ggml/src/ggml-common.h",
    ),
    (
        "model.quantization.dynamic",
        "scales are in the GGUF file, one for 32 weights, as llama-quantize wrote them",
        f"{SOURCE} ggml/src/ggml-common.h, block_q8_0",
    ),
    (
        "model.quantization.calibrationDataset",
        "read when the GGUF file is made, not when it is served: llama-imatrix, then llama-quantize --imatrix",
        f"{SOURCE} tools/imatrix/README.md",
    ),
    ("sharding.overlapLayers", "one process holds every layer once", README),
    (
        "sharding.loadBalancing",
        "nothing is balanced within a pipeline; between pipelines coordinator.config.loadBalancingStrategy decides",
        README,
    ),
    (
        "coordinator.config.dynamicBatching.batchTimeout",
        "nothing waits for company: a request joins the batch at its next token",
        f"{SOURCE} tools/server/server-context.cpp",
    ),
    (
        "coordinator.config.dynamicBatching.priorityBatching",
        "requests are taken in the order in which they come",
        f"{SOURCE} tools/server/server-queue.cpp",
    ),
)
"""Settings without a flag: key, why, source."""


def effects(settings: StackSettings, given: Mapping[str, str]) -> Iterator[Effect]:
    """What becomes of the settings that nothing is rendered of; `given` is the stack's settings by their keys.

    Those of which it can follow one value only are in `planner/engine_facts/llama_cpp.py`: the planner sets that value, and here it is in
    force.
    """
    yield from (without_flag(key, given[key], because, source) for key, because, source in _WITHOUT_FLAG if key in given)
    yield from (without_flag(key, given[key], ANY_PIPELINE, README) for key in given if key.startswith("sharding.affinityRules"))
    yield from switches(traits(settings.engine).fixed_settings, given)
    yield thread_pinning(settings, "--cpu-range counts the node's CPUs, and which of them a pod gets is not known before it runs")
