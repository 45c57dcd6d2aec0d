"""A small program on the real engine and a real control plane: killed in the middle, and then from nothing to nothing."""

import os
import signal
import time

import pytest

from rehearsal.layout import Layout
from tests.rehearsal.tiny_runs import configure, nothing_runs, rehearse, start

pytestmark = pytest.mark.process


def test_a_killed_run_can_be_run_again_from_nothing_to_nothing(repository):
    """Killed with its engine, plugins and control plane still running. The stack is protected: destroyed by the step a person takes."""
    configure(repository, "dev", gpus=4, protect=True)
    layout = Layout.of_stack("dev", repository)
    kill_midway(layout, start(repository, "run", "--stack", "dev"))
    assert not nothing_runs(repository)

    code, output = rehearse(repository, "run", "--stack", "dev")
    assert code == 0, output
    assert "Removed what an earlier run left" in output
    lines = {line.split("  ")[1].strip(): line for line in output.splitlines() if line.startswith("  ") and " ok " in line}
    assert set(lines) == {"preview", "up", "up again", "refresh", "up, settled", "destroy"}
    assert "unchanged" in lines["up again"] and "created" not in lines["up again"]
    assert "pulumi state unprotect --all --yes" in output
    assert "nothing is left" in output
    assert "What a rehearsal does not prove" in output
    # a Deployment's four pods and a LeaderWorkerSet's three, where the real scheduler put them
    used = [line.split(" of 4")[0].split()[-1] for line in output.splitlines() if " of 4" in line]
    assert sum(map(int, used)) == 7, output
    assert nothing_runs(repository)
    assert not layout.root.exists()


def test_an_impatient_ctrl_c_leaves_nothing(repository):
    """A terminal sends Ctrl-C to all processes of the run, and a user presses it twice."""
    layout = Layout.of_stack("dev", repository)
    run = start(repository, "run", "--stack", "dev", start_new_session=True)
    wait_for_a_cluster(layout, run)
    for _ in range(3):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.2)
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 1 and "interrupted; the rehearsal was removed" in output
    assert "Traceback" not in output
    assert nothing_runs(repository) and not layout.root.exists()


def kill_midway(layout, run):
    """End the runner, and nothing else, as soon as there is a cluster."""
    wait_for_a_cluster(layout, run)
    run.send_signal(signal.SIGKILL)
    run.communicate()


def wait_for_a_cluster(layout, run):
    deadline = time.monotonic() + 200
    while not layout.kubeconfig.exists():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
