"""How many requests a pipeline runs at once: of an engine that sets cache aside for each, and of one whose requests share it."""

import pytest

from planner import plan
from planner.fit.concurrency import concurrency, longest_request
from tests.planner.stacks import llama_cpp, settings, vllm

CACHE = {"kvCache": {"maxCacheSize": "1Gi"}}


def asked(batch=32, request_tokens=None, mode="fitted", enabled=True, engine=llama_cpp):
    limits = {"requestTokens": request_tokens} if request_tokens else {}
    batching = {"maxBatchSize": batch, "enabled": enabled}
    return engine(model=CACHE, coordinator={"config": {"dynamicBatching": batching}, "limits": limits}, sizing={"mode": mode})


def verbatim(**sections):
    return llama_cpp(**sections | {"sharding": {"shardsCount": 1}, "shard": {"resources": {"limits": {"nvidia.com/gpu": 2}}}})


@pytest.mark.parametrize(
    ("stack", "requests", "tokens"),
    [
        # 6,168 tokens of 174,080 bytes: one of llama-2-70b's 4,096, or as many as are asked for of shorter ones.
        (asked(), 1, 4096),
        (asked(request_tokens=2048), 3, 2048),
        # The context of a slot is a multiple of 256.
        (asked(request_tokens=2000), 3, 2048),
        (asked(batch=2, request_tokens=1024), 2, 1024),
        (asked(request_tokens=16), 24, 256),
        (asked(request_tokens=256, enabled=False), 1, 256),
        # As written: each the shorter for it.
        (asked(batch=8, mode="verbatim", engine=verbatim), 8, 768),
    ],
)
def test_a_pipeline_runs_as_many_as_its_cache_holds_of_the_longest(stack, requests, tokens):
    made = plan(stack)
    assert made.memory.tokens == 6168
    assert (made.requests_at_once, made.request_tokens) == (requests, tokens)
    assert made.requests_at_once * made.request_tokens <= made.memory.tokens
    if stack.sizing.mode == "fitted" and stack.coordinator.config.dynamic_batching.enabled:
        assert made.settings.coordinator.config.dynamic_batching.max_batch_size == requests


def test_requests_with_slots_of_their_own_run_in_the_same_number_whatever_their_lengths():
    made = plan(asked())
    for tokens in (1, 100, 4096):
        assert concurrency(made.settings, made.gpu, made.shape, tokens).requests == 1


def test_a_cache_shorter_than_the_longest_request_holds_one_that_is_as_long():
    made = plan(llama_cpp(model={"kvCache": {"maxCacheSize": "128Mi"}}))
    assert made.memory.tokens == 771
    assert (made.requests_at_once, made.request_tokens) == (1, 768)
    [said] = [finding for finding in made.findings if finding.code == "FIT-005"]
    assert said.key == "model.kvCache.maxCacheSize" and "the cache holds 768 tokens" in said.because and "could read 4,096" in said.because


def test_requests_that_share_a_cache_run_by_their_lengths():
    made = plan(asked(engine=vllm))
    assert made.memory.tokens == 6168 and made.request_tokens == 4096

    def at_once(tokens):
        return concurrency(made.settings, made.gpu, made.shape, tokens).requests

    assert [at_once(tokens) for tokens in (100, 1000, 4096)] == [32, 6, 1]
    assert made.requests_at_once == 32, "of the load test's"
    assert plan(asked(engine=vllm, request_tokens=512)).request_tokens == 512


def test_without_a_cache_only_the_model_bounds_a_request():
    made = plan(settings(model={"kvCache": {"enabled": False}}))
    assert made.request_tokens == longest_request(made.settings, made.shape) == 4096
