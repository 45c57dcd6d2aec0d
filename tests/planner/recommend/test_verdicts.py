"""What is said of a target: met, in doubt, missed, or impossible with what would have to change."""

import re

import pytest
import yaml

from planner.__main__ import main
from planner.fit.verdicts import predict, verdicts
from planner.recommend.assessment import assess
from settings import files
from settings.flatten import with_values
from tests.planner.recommend.searched import found
from tests.planner.stacks import stack


def test_the_guides_layout_misses_its_target_by_its_floor():
    said = {verdict.key: verdict for verdict in found("prod").verdicts}
    latency = said["targets.latency"]
    assert latency.outcome == "missed" and "8.2 s at best" in latency.predicted
    assert said["targets.throughputRps"].outcome == "missed"
    assert not found("prod").meets and found("dev").meets


def test_expected_is_cheaper_than_sure():
    expected = found("prod", expected=True).result.choices[0]
    assert expected.usd_per_hour < found("prod").result.choices[0].usd_per_hour
    one = expected.predict()
    assert one.times.latency.value <= 2 and one.requests_s.value >= 100 > one.requests_s.low


def test_a_target_inside_the_range_is_in_doubt_and_one_beyond_it_is_missed():
    """The layout whose estimate just meets the rate, asked for a tenth more, and with one pipeline alone."""
    choice = found("prod", expected=True).result.choices[0]
    outcomes = []
    for pipelines, wanted in ((choice.pipelines, 100), (choice.pipelines, 110), (1, 100)):
        asked = with_values(choice.settings, {("sharding", "pipelines"): pipelines, ("targets", "throughputRps"): wanted})
        prediction = predict(asked, choice.size, choice.gpu, choice.shape, choice.load)
        [rate] = [one for one in verdicts(asked, prediction) if one.key == "targets.throughputRps"]
        outcomes.append((prediction.requests_s.value >= wanted, prediction.requests_s.high >= wanted, rate.outcome))
    assert outcomes == [(True, True, "in doubt"), (False, True, "in doubt"), (False, False, "missed")]


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (
            {"latency": "100ms"},
            r"needs at least 0\.\d+ s to read the weights 100 times, and the target is 0.1 s; choose a targets.latency of more than",
        ),
        ({"latency": "250ms"}, "for one request alone"),
        (
            {"throughputRps": 1_000_000},
            r"256 pipelines, the most that a stack can have, serve [\d,]+ requests/s within 2 s, and the target is 1,000,000",
        ),
        (
            {"gpuUtilization": "100%"},
            r"the busiest runs kernels 9\d% of the time, and the target is 100%; choose a lower targets.gpuUtilization",
        ),
        ({"gpuMemory": "1%"}, "fits on no VM size of the region; choose a smaller model, fewer bits, a targets.gpuMemory above 1%"),
        (
            {"tokens": 5000},
            "a request of 10 \\+ 5,000 tokens exceeds the 4,096 that llama-2-70b can read; choose a shorter loadTest.prompt",
        ),
    ],
)
def test_an_impossible_target_says_the_floor_and_what_would_have_to_change(targets, says, capsys, tmp_path):
    path = tmp_path / "Pulumi.far.yaml"
    document = yaml.safe_load((files.ROOT / "Pulumi.prod.yaml").read_text())
    document["config"]["zig-ai-aks:targets"] |= targets
    path.write_text(yaml.safe_dump(document))
    assert main(["recommend", "--file", str(path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "no layout meets the targets" in printed
    assert re.search(says, printed), printed


def test_a_stack_that_cannot_be_planned_is_still_advised():
    assessment = assess(with_values(stack("prod"), {("model", "quantization", "precision"): "fp16"}))
    assert assessment.plan is None and "GiB too few" in assessment.problem and not assessment.verdicts
    assert {choice.precision for choice in assessment.alternatives} == {"fp16"}
