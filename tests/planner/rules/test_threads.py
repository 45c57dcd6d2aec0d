"""Threads and heaps in what a shard really gets."""

import pytest

from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import resources, settings, shard, vllm, with_env

CASES = [
    (
        "THREAD-001",
        settings(),
        "shard.config.workerThreads",
        "24 -> 4",
        "96 such threads on its 24 CPUs",
        {"shard": shard(workerThreads=4, ioThreads=1)},
    ),
    (
        "THREAD-002",
        settings(shard=with_env(MKL_NUM_THREADS="24")),
        "shard.env.MKL_NUM_THREADS",
        "24 -> 4",
        "5 CPUs",
        {"shard": with_env(MKL_NUM_THREADS="4")},
    ),
    (
        "THREAD-003",
        settings(),
        "shard.config.threadScheduler",
        "fifo -> other",
        "CAP_SYS_NICE",
        {"shard": shard(threadScheduler="other")},
    ),
    (
        "THREAD-004",
        settings(shard=with_env(GC_MAXIMUM_HEAP_SIZE="200Gi")),
        "shard.env.GC_MAXIMUM_HEAP_SIZE",
        "200Gi -> 83712Mi",
        "may use 109Gi in all",
        {"shard": with_env(GC_MAXIMUM_HEAP_SIZE="64Gi")},
    ),
    (
        "ENGINE-007",
        vllm(caching={"l1Cache": {"size": "100Gi"}}, shard=resources("5", "109Gi")),
        "caching.l1Cache.size",
        "100Gi -> 55808Mi",
        "a pipeline has 109 GiB",
        {"caching": {"l1Cache": {"size": "54Gi"}}},
    ),
    (
        "ENGINE-010",
        vllm(),
        "caching.l1Cache.size",
        "8Gi -> 8Gi",
        "this cache holds 49,344 tokens of prompts and the GPUs of a pipeline hold 98,689",
        {"caching": {"l1Cache": {"size": "17Gi"}}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)
