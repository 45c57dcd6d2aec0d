"""When the autoscaler adds a pipeline, by the plan, and what its bounds cost."""

import io
import math
import re

import pytest
from rich.console import Console

from planner import plan
from planner.fit.demand import demand_of
from planner.fit.serving import pipeline
from planner.recommend.assessment import assess
from reports import plan_text
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import settings

LLAMA_8B = {"name": "llama-3-8b", "quantization": {"precision": "fp8"}}
BATCH = {"config": {"dynamicBatching": {"maxBatchSize": 64}}}
KEY = "autoscaling.requestsPerPipeline"


def h100(size="Standard_NC40ads_H100_v5", pipelines=1, nodes=None, **autoscaling):
    """llama-3-8b in FP8, a pipeline on one H100; `nodes`: what else is said of the pool."""
    one = {"resources": {side: {"nvidia.com/gpu": 1, "cpu": "20", "memory": "128Gi"} for side in ("requests", "limits")}}
    sharding = {"shardsCount": 1, "pipelines": pipelines}
    pool, scaling = {"vmSize": size} | (nodes or {}), {"enabled": True} | autoscaling
    return settings(engine="vllm", gpuPool=pool, model=LLAMA_8B, shard=one, sharding=sharding, coordinator=BATCH, autoscaling=scaling)


@pytest.mark.parametrize("zones", [[], ["1", "2", "3"]], ids=["no zones", "three zones"])
@pytest.mark.parametrize(("pipelines", "most", "there"), [(1, 4, 2), (4, 5, 4), (3, 7, 4), (2, 3, 2)])
def test_what_a_finding_about_too_few_nodes_says_to_do_ends_it(zones, pipelines, most, there):
    """Kubernetes would keep the pods that have no node Pending for ever, and nothing said so."""

    def said(nodes, pipelines_at_most):
        asked = h100(pipelines=pipelines, nodes={"zones": zones, "maxNodes": nodes}, maxPipelines=pipelines_at_most)
        return [one.because for one in plan(asked).findings if one.code == "SCALE-006"]

    [because] = said(there, most)
    more, fewer = (int(re.search(rf"{key}: (\d+)\}}", because)[1]) for key in ("maxNodes", "maxPipelines"))
    assert not said(more, most) and not said(there, fewer) and said(more - 1, most)


KEPT = plan(h100()).scaling.keeps
CASES = [
    (
        "SCALE-001",
        h100(),
        KEY,
        f"not set -> {KEPT}",
        f"answers up to {KEPT} requests in flight within 2s",
        {"autoscaling": {"enabled": False}},
    ),
    (
        "SCALE-002",
        settings(autoscaling={"enabled": True}),
        KEY,
        "not set -> 32",
        "one request alone takes up to 1",
        {"targets": {"latency": "60s"}},
    ),
    (
        "SCALE-003",
        h100(requestsPerPipeline=1000),
        KEY,
        "1000 -> 1000",
        "the target is missed before a pipeline is added",
        {"autoscaling": {"enabled": True}},
    ),
    (
        "SCALE-004",
        h100(requestsPerPipeline=5),
        KEY,
        "5 -> 5",
        f"at that load the autoscaler asks for {math.ceil(KEPT / 5)} pipelines and gets 4: 20.94 USD an hour for a load that one can serve",
        {"autoscaling": {"enabled": True}},
    ),
    (
        "SCALE-005",
        h100(pipelines=3),
        "autoscaling.minPipelines",
        "1 -> 1",
        "3 nodes stay however few pipelines run: 1 of 3 would need 1 and save 13.96 USD an hour",
        {"gpuPool": {"vmSize": "Standard_NC40ads_H100_v5", "minNodes": 1}},
    ),
    (
        "SCALE-006",
        h100(nodes={"maxNodes": 2}, maxPipelines=6),
        "gpuPool.maxNodes",
        "2 -> 2",
        "maxPipelines: 6 needs 6 nodes of Standard_NC40ads_H100_v5, but at most 2 are allowed, which hold 2 pipelines: the pods of the "
        "others stay Pending for as long as the load asks for them. To run them, set gpuPool: {maxNodes: 6}",
        {"gpuPool": {"vmSize": "Standard_NC40ads_H100_v5", "maxNodes": 6}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def test_a_pipeline_is_added_beyond_what_one_answers_in_time():
    """The threshold was 5, of all requests: an H100 that answers far more in time was told to become two GPUs at the sixth, then four."""
    made = plan(h100())
    one = pipeline(made.settings, made.size, made.gpu, made.shape, demand_of(made.settings))
    most = made.scaling.requests_per_pipeline
    assert one.at(most).latency.high <= 2 < one.at(most + 1).latency.high
    assert most > 50


def test_without_a_count_that_keeps_the_target_no_pipeline_is_added_for_requests_that_run():
    made = plan(settings(autoscaling={"enabled": True}))
    assert made.scaling.keeps == 0
    assert made.scaling.requests_per_pipeline == made.requests_at_once == 32


def test_nothing_is_estimated_where_nothing_scales():
    assert plan(settings()).scaling is None


def test_the_plan_states_the_least_and_the_most_that_the_autoscalers_let_it_cost():
    asked = h100()
    made = plan(asked)
    assert made.usd_per_hour_bounds == pytest.approx((6.98, 27.92))
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    plan_text.show(assess(asked, planned=made), made, "prod", console)
    assert "6.98 USD an hour (the autoscalers allow 6.98 to 27.92)" in shown.getvalue()
    assert plan_text.as_json(assess(asked, planned=made), made, "prod")["cost_usd_per_hour_bounds"] == pytest.approx((6.98, 27.92))
