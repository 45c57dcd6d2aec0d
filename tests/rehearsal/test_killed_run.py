"""A small program on the real engine and a real control plane: killed in the middle, and then from nothing to nothing."""

import signal
import time

import pytest

from rehearsal.layout import Layout
from tests.rehearsal.tiny_runs import configure, nothing_runs, rehearse, start

pytestmark = pytest.mark.engine


def test_a_killed_run_can_be_run_again_from_nothing_to_nothing(repository):
    """Killed with its engine, plugins and control plane still running. The stack is protected: destroyed by the step a person takes."""
    configure(repository, "dev", gpus=4, protect=True)
    layout = Layout.of_stack("dev", repository)
    kill_midway(layout, start(repository, "run", "--stack", "dev"))
    assert not nothing_runs(repository)

    code, output = rehearse(repository, "run", "--stack", "dev")
    assert code == 0, output
    assert "Took away what an earlier run left" in output
    lines = {line.split("  ")[1].strip(): line for line in output.splitlines() if line.startswith("  ") and " ok " in line}
    assert set(lines) == {"preview", "up", "up again", "refresh", "destroy"}
    assert "unchanged" in lines["up again"] and "created" not in lines["up again"]
    assert "pulumi state unprotect --all --yes" in output
    assert "nothing left" in output
    assert "Not proven here" in output
    # a Deployment's four pods and a LeaderWorkerSet's three, where the real scheduler put them
    used = [line.split(" of 4")[0].split()[-1] for line in output.splitlines() if " of 4" in line]
    assert sum(map(int, used)) == 7, output
    assert nothing_runs(repository)
    assert not layout.root.exists()


def kill_midway(layout, run):
    """End the runner, and nothing else, as soon as there is a cluster."""
    deadline = time.monotonic() + 200
    while not layout.kubeconfig.exists():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGKILL)
    run.communicate()
