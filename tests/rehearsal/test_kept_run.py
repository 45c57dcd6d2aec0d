"""A small program on the real engine and a real control plane: kept for a look, and a crash that is told."""

import subprocess

import pytest

from rehearsal.layout import Layout
from tests.rehearsal.tiny_runs import nothing_runs, rehearse

pytestmark = pytest.mark.process


def test_kept_for_a_look_and_then_cleaned(repository, tmp_path, monkeypatch):
    """Nothing is left in the machine's temporary folder either: the Kubernetes provider writes a kubeconfig there at each start and leaves
    it, with the key that opens the cluster; a client's certificates lie there while it runs."""
    layout = Layout.of_stack("dev", repository)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    code, output = rehearse(repository, "run", "--stack", "dev", "--keep")
    assert code == 0, output
    assert f"export KUBECONFIG={layout.kubeconfig}" in output
    nodes = subprocess.run(["kubectl", "--kubeconfig", layout.kubeconfig, "get", "nodes", "-o", "name"], capture_output=True, text=True)
    assert len(nodes.stdout.split()) == 3
    code, output = rehearse(repository, "clean", "--stack", "dev")
    assert code == 0 and nothing_runs(repository) and not layout.root.exists()
    assert [path.name for path in temporary.iterdir()] == []


def test_a_crash_between_azure_and_the_engine_is_told(repository):
    """Azure has the pool, the engine does not know: the next run finds it there, as a person would on the cloud."""
    code, output = rehearse(repository, "run", "--stack", "dev", "--fault", "crash:AgentPool")
    assert code == 1
    assert "cannot create already existing resource" in output
    assert nothing_runs(repository)
