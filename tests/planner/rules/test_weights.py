"""Weights on their way to a pod."""

import pytest

from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import GGUF, fetched, llama_cpp, resources, settings

FOLDER = f"hf://org/name@{'0' * 40}"


def small_disk():
    """The operating system has 128 of its 176 GiB."""
    return settings(
        engine="vllm",
        gpuPool={"vmSize": "Standard_NC4as_T4_v3"},
        model={"source": FOLDER, "quantization": {"precision": "int4"}, "kvCache": {"maxCacheSize": "1Gi"}},
        sharding={"shardsCount": 4},
        shard=resources("2", "8Gi"),
    )


CASES = [
    (
        "WEIGHTS-001",
        llama_cpp(),
        "caching.l2Cache.enabled",
        "true -> false",
        "without model.source none are",
        {"model": {"source": GGUF}},
    ),
    (
        "WEIGHTS-002",
        fetched(gpuPool={"vmSize": "Standard_ND128isr_NDR_GB200_v6"}),
        "caching.l2Cache.enabled",
        "true -> false",
        "no known local disk, and the weights take 68.3 GiB",
        {"gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}},
    ),
    (
        "WEIGHTS-003",
        fetched(),
        "caching.l2Cache.size",
        "32Gi -> 69Gi",
        "68.3 GiB of the 894 GiB",
        {"caching": {"l2Cache": {"size": "70Gi"}}},
    ),
    (
        "ROLL-002",
        settings(sharding={"shardsCount": 8}),
        "rollout.maxUnavailablePipelines",
        "1 -> 1",
        "with 1 pipeline, each change of the shards stops the service until a pipeline is back",
        {"sharding": {"shardsCount": 8, "pipelines": 2}},
    ),
    (
        "WEIGHTS-008",
        llama_cpp(gpuPool={"vmSize": "Standard_NC24ads_A100_v4"}, model={"kvCache": {"maxCacheSize": "1Gi"}}),
        "gpuPool.vmSize",
        "Standard_NC24ads_A100_v4 -> Standard_NC24ads_A100_v4",
        "one file of 68.3 GiB, and a shard that reads it from the weight storage first fetches it to a disk of its node, of which a "
        "Standard_NC24ads_A100_v4 has 64 GiB",
        {"model": {"source": GGUF, "kvCache": {"maxCacheSize": "1Gi"}}},
    ),
    (
        "WEIGHTS-004",
        fetched(rollout={"modelLoadTimeout": "5m"}),
        "rollout.modelLoadTimeout",
        "5m -> 13m",
        "from the node's disk in 366 s, at 200 MB/s",
        {"rollout": {"modelLoadTimeout": "13m"}},
    ),
    (
        "WEIGHTS-005",
        small_disk(),
        "model.source",
        f"{FOLDER} -> {FOLDER}",
        "the 48 GiB of a node's disk hold one copy of 33.8 GiB",
        {"gpuPool": {"vmSize": "Standard_NC8as_T4_v3"}},
    ),
    (
        "WEIGHTS-006",
        fetched(),
        "model.source",
        f"{GGUF} -> {GGUF}",
        "the name of org/name-GGUF does not say that it is llama-2-70b",
        {"model": {"source": GGUF.replace("org/name-", "org/Llama-2-70B-")}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)
