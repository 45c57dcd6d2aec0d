"""The tables of metrics: held against what each release says, and spelled nowhere else."""

import re
from pathlib import Path

import pytest

from engines.metrics import DATA, RECORDED, table
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA
from tests.engines.expositions import exposition, families, series

ROOT = Path(__file__).resolve().parents[2]
EXPORTERS = sorted(path.stem for path in DATA.glob("*.csv") if path.stem != "recorded")


def differences(exporter, text):
    """Returns what a table says that an exposition does not."""
    kinds, found = families(text), series(text)
    for metric in table(exporter).values():
        # The text format of Prometheus itself gives no type to a series that it adds to each target.
        if kinds.get(metric.name, "gauge" if metric.name == "up" else None) not in (metric.type, "untyped"):
            yield f"{metric.name} is {kinds.get(metric.name)} and not {metric.type}"
        for name in metric.series:
            labels = [labels for one, labels in found if one == name]
            if not labels:
                yield f"{name} has no series"
            elif not all(set(metric.labels) <= set(one) for one in labels):
                yield f"{name} lacks a label of {metric.labels}"


def test_each_exporter_and_each_release_of_an_engine_has_a_table():
    assert (
        sorted(["zig_ai", "llama_cpp", f"vllm-{RELEASE}", f"vllm-{RELEASE_ON_VOLTA}", "envoy", "dcgm", "kubelet", "keda", "prometheus"])
        == EXPORTERS
    )


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_table_says_what_its_release_says(exporter):
    assert list(differences(exporter, exposition(exporter))) == []
    assert all(metric.unit and metric.meaning and metric.source for metric in table(exporter).values())


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_rename_of_any_metric_is_found(exporter):
    text = exposition(exporter)
    for metric in table(exporter).values():
        for name in metric.series:
            renamed = re.sub(rf"^{name}(?=[ {{])", f"{name}_x", text, flags=re.MULTILINE)
            assert list(differences(exporter, renamed)) == [f"{name} has no series"]
        assert any(metric.name in found for found in differences(exporter, text.replace(f"# TYPE {metric.name} ", "# TYPE x "))) or (
            metric.name == "up"
        )


def test_vllms_releases_say_the_same_of_a_service():
    """What is recorded of one must not be missing of another."""
    assert table(f"vllm-{RELEASE}").keys() == table(f"vllm-{RELEASE_ON_VOLTA}").keys()


SPELLED = {"infra/kubernetes/monitoring/prometheus.py", "engines/metrics/__init__.py"}
"""The guide's command in a docstring, and the tables' own."""


def test_nothing_but_the_tables_spells_a_metrics_name():
    """A name in code would outlive its metric: a rename reaches the tables alone."""
    known = [name for exporter in EXPORTERS for metric in table(exporter).values() for name in metric.series if name != "up"]
    known += [metric.name for metric in RECORDED.values()]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, known))}|(vllm|llamacpp):[a-z]\w+|keda_scale\w+|envoy_(http|cluster|server)_\w+)\b")
    labels = {label for exporter in EXPORTERS for metric in table(exporter).values() for label in metric.labels}
    found: dict[str, list[str]] = {}
    for room in ("engines", "infra", "stacks", "serve", "settings", "planner", "reports"):
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".py", ".sh", ".js") and str(path.relative_to(ROOT)) not in SPELLED:
                names = [match[0] for match in pattern.finditer(path.read_text()) if match[0] not in labels]
                found |= {str(path.relative_to(ROOT)): names} if names else {}
    assert found == {}
