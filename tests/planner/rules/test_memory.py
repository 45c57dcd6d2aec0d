"""How a GPU's memory is shared out."""

import pytest

from planner import plan
from settings import SettingsError
from settings.flatten import with_values
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import findings, llama_cpp, settings, vllm

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
    (
        "FIT-005",
        settings(coordinator={"limits": {"requestTokens": 8192}}),
        "coordinator.limits.requestTokens",
        "8192 -> 4096",
        "llama-2-70b reads no more than 4,096 tokens",
        {"coordinator": {"limits": {"requestTokens": 4096}}},
    ),
    (
        "FIT-005",
        llama_cpp(model={"kvCache": {"maxCacheSize": "128Mi"}}, coordinator={"limits": {"requestTokens": 1024}}),
        "coordinator.limits.requestTokens",
        "1024 -> 768",
        "the cache holds 768 tokens, which bounds the longest request",
        {"coordinator": {"limits": {"requestTokens": 768}}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def overflow(asked):
    """What is said of a batch that the cache does not hold."""
    [said] = [finding for finding in findings(asked) if finding.code == "FIT-004"]
    return said


def test_what_becomes_of_requests_beyond_the_cache_is_said_of_each_engine():
    """llama-server ends all of them, so fewer are let in; vLLM puts one back; each keeps its own word."""
    small = {"model": {"kvCache": {"maxCacheSize": "1Gi"}}}
    zig, ray, slots = (overflow(engine(**small)) for engine in (settings, vllm, llama_cpp))
    assert zig.because.endswith("; further ones must wait") and zig.outcome == ray.outcome == "noted"
    assert ray.because.endswith(
        "; further ones wait, and a request that outgrows the cache goes back to the queue and is computed again later"
    )
    assert (slots.outcome, slots.asked, slots.given) == ("adjusted", "32", "1")
    assert "the cache holds 6,168 tokens: 1 request of up to 4,096 each" in slots.because
    assert "would end all requests of a pipeline" in slots.because


def test_a_batch_that_the_cache_does_not_hold_is_refused_kept_or_made_to_fit():
    asked = llama_cpp(model={"kvCache": {"maxCacheSize": "4Gi"}}, coordinator={"config": {"dynamicBatching": {"maxBatchSize": 8}}})
    said = overflow(asked)
    assert (said.asked, said.given) == ("8", "6")
    assert said.because.endswith("coordinator.limits.requestTokens: 3072 or model.kvCache.maxCacheSize: 5.5Gi would let 8 run at once")
    for path, value in ((("coordinator", "limits", "requestTokens"), 3072), (("model", "kvCache", "maxCacheSize"), "5.5Gi")):
        assert not [finding for finding in findings(with_values(asked, {path: value})) if finding.code == "FIT-004"]
    strict = with_values(plan(asked).settings, {("sizing", "mode"): "strict"})
    assert plan(strict).requests_at_once == 6
    with pytest.raises(SettingsError, match="maxBatchSize"):
        plan(with_values(strict, {("coordinator", "config", "dynamicBatching", "maxBatchSize"): 8}))
    kept = plan(with_values(strict, {("coordinator", "config", "dynamicBatching", "maxBatchSize"): 8, ("sizing", "mode"): "verbatim"}))
    assert (kept.requests_at_once, kept.request_tokens) == (8, 3072)
    assert "kept as written" in next(finding.because for finding in kept.findings if finding.code == "FIT-004")


def test_weights_that_leave_no_room_are_refused_whatever_bounds_a_request():
    """The bound was lowered to what a cache of nothing holds, which is no valid value, and ended in a traceback."""
    asked = settings(model={"quantization": {"enabled": False}}, coordinator={"limits": {"requestTokens": 2048}})
    with pytest.raises(SettingsError, match=r"GiB too few"):
        plan(asked)
