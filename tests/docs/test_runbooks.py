"""Every alert has a page that says what to do, and there is no page without an alert."""

import re
from pathlib import Path

import pytest

from engines.metrics import DATA, table
from tests.infra.kubernetes.monitoring.test_prometheus_rules import KINDS, alerts_of, rules_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


def test_each_alert_has_a_page_and_each_page_an_alert():
    named = {alert["annotations"]["runbook"] for kind in KINDS for alert in alerts_of(rules_of(kind))}
    assert named == {str(page.relative_to(ROOT)) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_means_how_to_see_it_what_to_do_and_when_to_escalate(page):
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n") and re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "See it",
        "What to do",
        "When to escalate",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_metrics_that_a_page_asks_for_are_those_of_the_tables(page):
    known = {name for file in DATA.glob("*.csv") for metric in table(file.stem).values() for name in (metric.name, *metric.series)}
    labels = {label for file in DATA.glob("*.csv") for metric in table(file.stem).values() for label in metric.labels}
    asked = set(re.findall(r"\b(?:zig_ai:|envoy_|DCGM_|vllm:|llamacpp:|prometheus_)[\w:]+", page.read_text()))
    assert asked - labels <= known
