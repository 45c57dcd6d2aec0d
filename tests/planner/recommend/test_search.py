"""The search: what it finds meets the targets, nothing cheaper does, and every layout is looked at."""

import math

import pytest

from planner import plan
from planner.catalogue import hardware
from planner.fit import stack_memory
from planner.fit.demand import demand_of
from planner.fit.verdicts import predict, verdicts
from planner.recommend.assessment import assess
from planner.recommend.choice import bits
from planner.recommend.layouts import engine_layouts, with_batch
from planner.rules.planning import shape_of
from settings import SettingsError
from settings.flatten import with_values
from tests.planner.recommend.searched import STACKS, found, pasted
from tests.planner.stacks import settings


@pytest.mark.parametrize("name", STACKS)
def test_every_layout_can_be_pasted_and_meets_the_targets(name, tmp_path):
    choices = found(name).result.choices
    assert choices
    for choice in choices:
        asked = pasted(name, choice, tmp_path)
        made = plan(asked)
        assert not [finding for finding in made.findings if finding.code in ("PLACE-008", "TARGET-001", "SIZE-001", "LAYER-002")]
        split = stack_memory.parallel(made.settings, made.gpu, made.shape)
        assert (made.size.name, made.nodes, made.pipelines, split) == (choice.size.name, choice.nodes, choice.pipelines, choice.parallel)
        assert stack_memory.precisions(made.settings)[0] == choice.precision
        assert made.usd_per_hour == pytest.approx(choice.usd_per_hour)
        prediction = predict(made.settings, made.size, made.gpu, made.shape, demand_of(asked))
        said = {verdict.key: verdict.outcome for verdict in verdicts(made.settings, prediction)}
        assert set(said.values()) == {"met"}, (choice, said)
        assert prediction.times == choice.predict().times


@pytest.mark.parametrize("name", STACKS)
def test_one_pipeline_less_would_miss_a_target(name):
    for choice in found(name).result.choices:
        if choice.pipelines == 1:
            continue
        fewer = choice.pipelines - 1
        # The search wants no request to wait for a place in a batch: one that kept some out could keep the GPU busy enough.
        size = max(math.ceil(choice.load.users / fewer), choice.settings.coordinator.config.dynamic_batching.max_batch_size)
        less = with_batch(with_values(choice.settings, {("sharding", "pipelines"): fewer}), size)
        said = verdicts(less, predict(less, choice.size, choice.gpu, choice.shape, choice.load))
        assert any(verdict.outcome in ("missed", "in doubt") for verdict in said), choice


def test_what_the_bounds_leave_out_would_not_do_for_less():
    """Every form on two sizes, planned and predicted without any bound, against the cheapest that the search has of each."""
    asked = settings(
        model={"name": "llama-2-13b"}, sharding={"shardsCount": 1}, targets={"throughputRps": 20}, loadTest={"concurrentUsers": 30}
    )
    shape = shape_of(asked)
    best = {}
    for choice in assess(asked).result.choices:
        best[choice.size.name, choice.precision] = min(choice.usd_per_hour, best.get((choice.size.name, choice.precision), 1e9))
    tried = 0
    for name in ("Standard_NC64as_T4_v3", "Standard_NV72ads_A10_v5"):
        for form in engine_layouts(asked, shape, hardware.gpu_size(name, "eastus")):
            for pipelines in (1, 2, 3, 4, 6, 8):
                values = {
                    ("gpuPool", "vmSize"): name,
                    ("model", "quantization", "precision"): form.precision,
                    ("shard", "resources", "limits", "nvidia.com/gpu"): form.gpus,
                    ("shard", "resources", "requests", "nvidia.com/gpu"): form.gpus,
                    ("sharding", "shardsCount"): form.stages,
                    ("sharding", "pipelines"): pipelines,
                    ("coordinator", "config", "dynamicBatching", "maxBatchSize"): 128,
                }
                try:
                    made = plan(with_values(asked, values))
                    prediction = predict(made.settings, made.size, made.gpu, shape, demand_of(asked))
                except (SettingsError, ValueError):
                    continue
                if stack_memory.precisions(made.settings)[0] != form.precision:
                    continue
                tried += 1
                if all(one.outcome == "met" for one in verdicts(made.settings, prediction)):
                    assert made.usd_per_hour >= best[name, form.precision] - 1e-9, (name, form, pipelines)
    assert tried > 50


@pytest.mark.parametrize("name", STACKS)
def test_every_layout_is_looked_at_once(name):
    asked = STACKS[name]
    every = sum(
        sum(1 for _ in engine_layouts(asked, shape_of(asked), hardware.gpu_size(size, "eastus"))) for size in hardware.gpu_size_names()
    )
    assert found(name).result.looked_at == every


def test_no_deeper_pipeline_where_one_serves_the_load_with_fewer_stages():
    left_out = 0
    for name in STACKS:
        fewest = {}
        for choice in found(name).result.choices:
            if choice.pipelines == 1:
                fewest.setdefault((choice.size.name, choice.precision, choice.parallel.tensor), []).append(choice.parallel.pipeline)
        assert all(len(stages) == 1 for stages in fewest.values()), name
        left_out += found(name).result.rejected["more stages where one pipeline serves the load with fewer"]
    assert left_out > 50


def test_cheapest_first_and_alternatives_of_different_sizes():
    assessment = found("prod")
    costs = [choice.usd_per_hour for choice in assessment.result.choices]
    assert costs == sorted(costs)
    assert len({choice.size.name for choice in assessment.alternatives}) == len(assessment.alternatives) == 3
    fewer = [choice for choice in assessment.result.choices if choice.precision == "int4"]
    assert fewer and not any(choice.precision == "int4" for choice in assessment.alternatives)
    assert assessment.result.best(1, 4) == (assessment.result.choices[0],) and bits(assessment.asked) == 8


@pytest.mark.parametrize("name", ["prod", "own limits"])
def test_the_loss_of_any_node_leaves_enough(name, tmp_path):
    """The nodes are those of the plan: whichever is taken away, the pipelines without a shard on it meet the targets."""
    plain = {(c.size.name, c.precision, c.parallel): c.pipelines for c in found(name).result.choices}
    more = 0
    for choice in found(name, survive=1).result.choices[:12]:
        made = plan(pasted(name, choice, tmp_path))
        needed = plain[choice.size.name, choice.precision, choice.parallel]
        for node in range(made.nodes):
            hurt = {pod.pipeline for pod in made.pods if pod.node == node}
            assert made.pipelines - len(hurt) >= needed
        more += choice.pipelines - needed
    assert more > 0
