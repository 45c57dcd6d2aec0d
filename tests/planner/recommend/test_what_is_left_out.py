"""Layouts that no search offers: sizes, engines, prices, GPUs that would be idle, requests that are too long."""

import pytest

from planner.catalogue import hardware
from planner.engine_facts import traits
from planner.recommend.assessment import assess
from planner.recommend.choice import SearchOptions
from reports import sentences, yaml_switch
from settings.flatten import with_values
from tests.planner.recommend.searched import IDLE, STACKS, found
from tests.planner.stacks import stack


def test_sizes_that_nothing_here_drives_are_left_out_with_what_they_have():
    left_out = found("prod").result.rejected
    assert left_out["the size has AMD GPUs"] and left_out["the size has confidential GPUs, whose signed driver AKS does not install"]
    assert all(choice.size.aks_driver for choice in found("prod").result.choices)


def test_only_what_the_engine_can_deploy():
    of_engine = traits("llama_cpp")
    for choice in found("one process").result.choices:
        assert choice.settings.sharding.shards_count == 1 and choice.precision in of_engine.weight_precisions
        assert choice.parallel.tensor == 1


def test_prices_of_the_region_and_of_spot():
    west = found("prod", regions=("westeurope",))
    h100 = "Standard_ND96isr_H100_v5"
    prices = {round(choice.usd_per_hour / choice.nodes, 6) for choice in west.result.choices if choice.size.name == h100}
    assert prices == {hardware.gpu_size(h100, "westeurope").usd_per_hour}
    assert "azure: {location: westeurope}" in yaml_switch.lines(STACKS["prod"], west.result.choices[0])
    everywhere = found("prod", regions=hardware.regions())
    cheapest = min(west.result.choices[0].usd_per_hour, found("prod").result.choices[0].usd_per_hour)
    assert everywhere.result.choices[0].usd_per_hour <= cheapest
    spot = found("prod", spot=True)
    assert spot.result.choices[0].usd_per_hour < found("prod").result.choices[0].usd_per_hour
    assert "spot: true" in yaml_switch.lines(STACKS["prod"], spot.result.choices[0])
    assert "Standard_ND96isr_H100_v5" in spot.result.without_price and spot.result.rejected["no spot price in eastus"]


def test_retired_sizes_only_when_asked_for():
    assert not any(choice.size.retired_on for choice in found("dev").result.choices)
    assert any(choice.size.retired_on for choice in found("dev", retired=True).result.choices)


@pytest.mark.parametrize(
    ("wish", "says"), [({}, "no VM size on sale has a price in polandcentral;"), ({"spot": True}, "has a spot price in polandcentral;")]
)
def test_a_region_without_prices_is_said_to_be_one(wish, says, capsys):
    assessment = assess(with_values(stack("prod"), {("azure", "location"): "polandcentral"}), SearchOptions(**wish))
    assert says in sentences.impossible(assessment) and not assessment.result.choices


def test_requests_longer_than_the_models_context_fit_no_layout():
    patient = {("targets", "latency"): "600s", ("targets", "throughputRps"): 1, ("loadTest", "prompt"): "word" * 5000}
    assessment = assess(with_values(stack("prod"), patient))
    assert not assessment.result.choices and assessment.prediction is None and "exceeds the 4,096" in assessment.problem
    patient[("loadTest", "prompt")] = "word" * 1000
    assert assess(with_values(stack("prod"), patient)).result.choices


def test_gpus_that_wait_for_the_host_are_no_choice_however_cheap():
    """llama.cpp chooses tokens on the host: with fewer requests in each pipeline it keeps its GPU busy, at more cost."""
    busy, idle = found("one process").result.choices, assess(with_values(STACKS["one process"], IDLE)).result.choices
    assert idle[0].usd_per_hour < 0.5 * busy[0].usd_per_hour
    assert idle[0].predict().busy.low < 0.8 <= min(choice.predict().busy.low for choice in busy)


def test_a_pod_whose_gpus_take_turns_leaves_all_but_one_idle():
    asked = with_values(STACKS["one process"], IDLE)
    several = [choice for choice in assess(asked).result.choices if choice.parallel.pipeline > 1]
    assert several and all(choice.predict().busy.high <= 1 / choice.parallel.pipeline for choice in several)
