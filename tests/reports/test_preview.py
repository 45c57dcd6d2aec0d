"""What a preview says about the targets, and the predictions and measurements that the stack exports."""

import json
import re

import pytest

from planner import plan
from planner.recommend.assessment import assess
from reports import comparison, json_output, preview
from settings import files
from settings.flatten import with_values
from stacks import program
from tests.mocks import recording, run
from tests.planner.stacks import stack
from tests.reports.test_comparison import PUBLISHED


@pytest.fixture
def exported(monkeypatch):
    kept = {}
    monkeypatch.setattr("pulumi.export", lambda name, value: kept.update({name: value}))
    return kept


def test_prod_misses_its_latency_by_its_floor_and_the_cheapest_layout_that_meets_it_is_named():
    assessment = assess(stack("prod"))
    judged, cheapest = preview.targets(assessment, "prod").splitlines()
    assert "latency missed, throughputRps missed" in judged
    assert "; the target of 2 s is out of reach: this layout needs 8.2 s even for one user, as each token reads 73.8 GB of " in judged
    assert re.search(r"\. The layout serves [\d.]+ requests/s; the target is 100\.$", judged)
    best = assessment.alternatives[0]
    assert f"{best.nodes} x {best.size.name}" in cheapest and f"{best.usd_per_hour:,.2f} USD" in cheapest
    assert cheapest.endswith("python -m planner recommend --stack prod")


def test_a_layout_that_meets_its_targets_is_reported_as_such():
    judged, cheapest = preview.targets(assess(stack("dev")), "dev").splitlines()
    assert "latency met, throughputRps met" in judged and cheapest.startswith("No layout that meets them is cheaper")


def test_targets_that_nothing_meets_say_what_would_have_to_change():
    asked = with_values(stack("prod"), {("targets", "latency"): "100ms"})
    _, cheapest = preview.targets(assess(asked), "prod").splitlines()
    assert cheapest.startswith("No layout meets them: the fastest") and "targets.latency of more than" in cheapest


@pytest.mark.parametrize(("text", "kept"), [(json.dumps([PUBLISHED]), True), ("no JSON", False), (None, False)])
def test_the_stack_keeps_prediction_and_measurement(text, kept, exported, tmp_path, monkeypatch):
    path = tmp_path / "measured.prod.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(comparison, "path_of", lambda stack: path)
    warnings = []
    monkeypatch.setattr("pulumi.log.warn", warnings.append)
    monkeypatch.setattr("pulumi.log.info", lambda text: None)
    asked = stack("prod")
    assessment = assess(asked, planned=plan(asked))
    program._account_for_targets(assessment, "prod")
    assert exported["prediction"] == json.loads(json.dumps(json_output.deployed(assessment)))
    assert exported["prediction"]["prediction"]["floor_s"] == pytest.approx(8.2, abs=0.05)
    assert ("measured" in exported) == kept
    assert bool(warnings) == (text == "no JSON")
    if kept:
        assert exported["measured"]["rows"][0]["tpot_ms"]["measured"] == 13.19


def test_measurements_lie_beside_the_stack_file():
    assert comparison.path_of("prod").parent == files.stack_file_path("prod").parent


def test_the_program_accounts_for_targets(exported):
    asked = stack("dev")
    recording("dev")
    run(lambda: program.deploy(asked, plan(asked), "dev"))
    assert exported["prediction"]["meets"] is True
