"""What the pages and the progress messages say of a build's CPU seconds is what was measured."""

import json
import re

import pytest

from bench.toolchain_build import RESULT, write
from rehearsal.layout import REPOSITORY
from toolchain.recipes import GROUPS, PROGRAMS

MEASURED = {name: figures["cpu_s"] for name, figures in json.loads(RESULT.read_text())["programs"].items()}
ROWS = {
    "Pulumi": ["pulumi"],
    "its language host": ["pulumi-language-python"],
    "its Kubernetes provider": ["pulumi-resource-kubernetes"],
    "etcd": ["etcd"],
    "API server, scheduler, controller manager, kubectl": ["kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubectl"],
    "kwok and kwokctl": ["kwok", "kwokctl"],
    "LeaderWorkerSet controller": ["lws-controller"],
    "**all that `make rehearse` needs**": [
        output.name for group in ("engine", "cluster") for recipe in GROUPS[group] for output in recipe.outputs
    ],
    "llama-server": ["llama-server"],
    "Prometheus and promtool": ["prometheus", "promtool"],
    "Alertmanager": ["alertmanager"],
}


@pytest.mark.parametrize("row", ROWS)
def test_the_page_s_table_is_what_was_measured(row):
    page = (REPOSITORY / "docs" / "toolchain.md").read_text()
    [now] = re.findall(rf"^\| {re.escape(row)} \| [^|]+ \| \**([\d,]+)\** \|$", page, re.MULTILINE)
    assert int(now.replace(",", "")) == pytest.approx(sum(MEASURED[name] for name in ROWS[row]), abs=1)


@pytest.mark.parametrize(
    "output", [output for recipe in PROGRAMS for output in recipe.outputs if output.name in MEASURED], ids=lambda it: it.name
)
def test_the_progress_expects_what_was_measured(output):
    assert output.cpu_seconds == pytest.approx(MEASURED[output.name], rel=0.3, abs=6)


def test_programs_that_are_not_measured_again_keep_their_figures(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"programs": {"etcd": {"cpu_s": 1, "mb": 2}, "of-another-time": {"cpu_s": 3, "mb": 4}}}))
    write({"pulumi": {"cpu_s": 5, "mb": 6}}, file)
    assert list(json.loads(file.read_text())["programs"].items()) == [
        ("pulumi", {"cpu_s": 5, "mb": 6}),
        ("etcd", {"cpu_s": 1, "mb": 2}),
        ("of-another-time", {"cpu_s": 3, "mb": 4}),
    ]
