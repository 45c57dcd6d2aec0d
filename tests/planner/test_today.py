"""The stacks that anybody can buy and run: what their files promise."""

import re

import pytest

from planner import plan
from planner.fit.demand import demand_of
from planner.fit.verdicts import predict, verdicts
from planner.recommend.assessment import assess
from reports import yaml_switch
from tests.planner.stacks import stack
from tests.shipped import TODAY


@pytest.mark.parametrize("name", TODAY)
def test_every_target_of_the_guide_is_met_at_the_slow_end(name):
    asked, guide = stack(name), stack("prod")
    assert asked.targets == guide.targets and asked.load_test == guide.load_test
    made = plan(asked)
    said = verdicts(made.settings, predict(made.settings, made.size, made.gpu, made.shape, demand_of(asked)))
    assert {verdict.key: verdict.outcome for verdict in said} == dict.fromkeys(
        ("targets.latency", "targets.throughputRps", "targets.gpuUtilization", "targets.gpuMemory"), "met"
    )


@pytest.mark.parametrize("name", TODAY)
def test_nothing_that_meets_them_with_the_same_weights_is_cheaper(name):
    """The cheapest is the stack itself, so that no line is printed to switch to it."""
    assessment = assess(stack(name))
    precision = assessment.asked.model.quantization.precision
    cheapest = min((one for one in assessment.result.choices if one.precision == precision), key=lambda one: one.usd_per_hour)
    assert yaml_switch.lines(assessment.asked, cheapest) == ""


@pytest.mark.parametrize("name", TODAY)
def test_azure_sells_the_size_and_the_weights_are_one_commit(name):
    made = plan(stack(name))
    assert made.size.retired_on is None
    assert re.fullmatch(r"hf://[\w.-]+/[\w.-]+@[0-9a-f]{40}", made.settings.model.source or "")
