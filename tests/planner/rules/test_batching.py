"""Fewer requests at once than the load has in flight: the service is slower than its GPU."""

import json
import re
from statistics import fmean

import pytest

from planner import plan
from settings import SettingsError, StackSettings
from settings.files import ROOT
from settings.flatten import document
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import A100, H100, findings, settings

SIZE = "coordinator.config.dynamicBatching.maxBatchSize"


def one_gpu(engine="vllm", **sections):
    """The guide's settings with a model that one GPU holds."""
    return settings(**{"engine": engine, "gpuPool": H100, "model": {"name": "llama-3-8b"}, "sharding": {"shardsCount": 1}} | sections)


def batch(size, **more):
    return {"coordinator": {"config": {"dynamicBatching": {"maxBatchSize": size} | more}}}


CASES = [
    (
        "TARGET-003",
        one_gpu(),
        SIZE,
        "32 -> 100",
        "32 at once gave 57 requests/s and 95% of the answers within 1.95 s, 100 gave 106.2 and 1.26 s",
        {"loadTest": {"concurrentUsers": 32}},
    ),
    ("TARGET-003", one_gpu(), SIZE, "32 -> 100", "which meets targets.throughputRps", batch(100)),
    (
        "TARGET-003",
        settings(engine="vllm", gpuPool=A100),
        SIZE,
        "32 -> 32",
        "which does not meet targets.latency or targets.throughputRps either",
        {"loadTest": {"concurrentUsers": 32}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def said(asked):
    return [finding for finding in findings(asked) if finding.code == "TARGET-003"]


def size_of(asked):
    return plan(asked).settings.coordinator.config.dynamic_batching.max_batch_size


def in_mode(mode):
    return StackSettings.model_validate_json(json.dumps(document(plan(one_gpu()).settings) | batch(32) | {"sizing": {"mode": mode}}))


def test_a_fitted_stack_has_a_request_at_once_for_each_user_of_a_pipeline():
    assert size_of(one_gpu()) == 100
    two = one_gpu(sharding={"shardsCount": 1, "pipelines": 2}, loadTest={"concurrentUsers": 201}, targets={"throughputRps": 200})
    assert size_of(two) == 101


def test_a_strict_stack_is_refused_and_a_verbatim_one_is_left_as_it_is():
    with pytest.raises(SettingsError) as refused:
        plan(in_mode("strict"))
    [problem] = [one for one in refused.value.problems if one.key == SIZE]
    assert problem.value == "32" and problem.fix.startswith("100,")
    assert size_of(in_mode("verbatim")) == 32
    [kept] = said(in_mode("verbatim"))
    assert kept.outcome == "noted" and "`sizing: {mode: fitted}` would give 100" in kept.because


def test_no_more_run_at_once_than_the_cache_holds():
    """A request of the load test is 10 + 100 tokens, of which each leaves 68 KiB in a cache of 8 bits and scales."""
    cache = {"name": "llama-3-8b", "kvCache": {"maxCacheSize": "512Mi"}}
    assert size_of(one_gpu(model=cache, targets={"throughputRps": 80})) == 512 * 1024 // 68 // 110 == 70


def test_who_batches_nothing_is_not_told_to_batch_more():
    assert not said(one_gpu(**batch(32, enabled=False)))


@pytest.mark.parametrize("engine", ["zig_ai", "llama_cpp"])
def test_nothing_is_said_of_an_engine_that_was_not_measured_to_gain(engine):
    """zig-ai was never measured; llama.cpp's slots each have a part of the cache, and 64 of them gave what 32 did."""
    assert not said(one_gpu(engine))


def test_the_measurement_is_the_one_in_the_results():
    [found] = said(one_gpu())
    kept = [line for line in json.loads((ROOT / found.source).read_text())["lines"] if "load" in line]
    figures = {}
    for line in kept:
        assert line["changed"]["model.name"] == "llama-3-8b" and line["ran"].startswith("vllm 0.17.1 ") and line["load"]["users"] == 100
        at_once = re.search(r"--max-num-seqs (\d+)", line["rendered"])[1]
        figures.setdefault(at_once, []).append((line["load"]["requests_s"], line["load"]["latency_p95_s"]))
    means = {
        at_once: [round(fmean(one), digits) for one, digits in zip(zip(*of, strict=True), (1, 2), strict=True)]
        for at_once, of in figures.items()
    }
    assert means == {"32": [57.0, 1.95], "100": [106.2, 1.26]}
    assert "32 at once gave 57 requests/s and 95% of the answers within 1.95 s, 100 gave 106.2 and 1.26 s" in found.because
