"""How a GPU's memory is shared out."""

import pytest

from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import settings

CASES = [
    (
        "FIT-001",
        settings(),
        "model.kvCache.maxCacheSize",
        "16Gi -> 4.25Gi",
        "8.96 hold weights",
        {"model": {"kvCache": {"maxCacheSize": "4Gi"}}},
    ),
    ("FIT-002", settings(), "shard.config.gpuMemoryFraction", "0.95 -> 0.9", "allows 90%", {"targets": {"gpuMemory": "95%"}}),
    (
        "FIT-003",
        settings(),
        "shard.config.allowGpuMemoryGrowth",
        "true -> false",
        "preAllocate",
        {"model": {"kvCache": {"preAllocate": False}}},
    ),
    (
        "FIT-004",
        settings(model={"kvCache": {"maxCacheSize": "1Gi"}}),
        "coordinator.config.dynamicBatching.maxBatchSize",
        "32 -> 32",
        "12 requests of the full 4,096, or 32 of 1,542 each",
        {"coordinator": {"config": {"dynamicBatching": {"maxBatchSize": 12}}}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_it_is_said_with_its_figures_and_not_of_other_numbers(case):
    check(case)
