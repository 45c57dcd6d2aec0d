"""A small program on the real engine and a real control plane: from nothing to nothing, also when killed or stuck."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rehearsal import processes
from rehearsal.layout import REPOSITORY, Layout

pytestmark = pytest.mark.engine
TINY = Path(__file__).parent / "tiny"
NEEDED = ("pulumi", "pulumi-language-python", "pulumi-resource-kubernetes", "kwokctl", "kube-apiserver", "kubectl", "lws-controller")


@pytest.fixture
def repository(tmp_path):
    """The small program in a folder of its own; whatever a test leaves is taken away."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    assert not missing, f"not on PATH: {', '.join(missing)}; run `make toolchain`, and the tests with `make test`"
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    yield folder
    rehearse(folder, "clean")


def start(repository, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "rehearsal", *arguments, "--repository", str(repository)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def rehearse(repository, *arguments):
    """(exit code, what was printed)."""
    process = start(repository, *arguments)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def configure(repository, stack, **settings):
    config = {"config": {f"tiny:{key}": value for key, value in settings.items()}}
    (repository / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(config))


def nothing_runs(repository, stack="dev"):
    return processes.marked(Layout.of_stack(stack, repository).root) == {}


def test_two_stacks_side_by_side_from_nothing_to_nothing(repository):
    """One of them is protected and is destroyed by the step a person would take."""
    configure(repository, "dev", gpus=4, protect=True)
    configure(repository, "other", gpus=2)
    runs = {stack: start(repository, "run", "--stack", stack) for stack in ("dev", "other")}
    outputs = {stack: run.communicate(timeout=400)[0] for stack, run in runs.items()}
    assert {stack: run.returncode for stack, run in runs.items()} == {"dev": 0, "other": 0}, outputs
    for output in outputs.values():
        lines = {line.split("  ")[1].strip(): line for line in output.splitlines() if line.startswith("  ") and " ok " in line}
        assert set(lines) == {"preview", "up", "up again", "refresh", "destroy"}
        assert "unchanged" in lines["up again"] and "created" not in lines["up again"]
        assert "nothing left" in output
        assert "Not proven here" in output
    assert "pulumi state unprotect --all --yes" in outputs["dev"]
    assert "pulumi state unprotect" not in outputs["other"]
    # a Deployment's four pods and a LeaderWorkerSet's three, where the real scheduler put them
    used = [line.split(" of 4")[0].split()[-1] for line in outputs["dev"].splitlines() if " of 4" in line]
    assert sum(map(int, used)) == 7, outputs["dev"]
    assert nothing_runs(repository) and nothing_runs(repository, "other")
    assert not Layout.of_stack("dev", repository).root.exists()


def test_a_killed_run_can_be_run_again(repository):
    """Killed in the middle of the up, with its engine, plugins and control plane still running."""
    layout = Layout.of_stack("dev", repository)
    first = start(repository, "run", "--stack", "dev")
    deadline = time.monotonic() + 200
    while not layout.kubeconfig.exists():
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not nothing_runs(repository)
    code, output = rehearse(repository, "run", "--stack", "dev")
    assert code == 0, output
    assert "Took away what an earlier run left" in output
    assert nothing_runs(repository)


def test_a_pod_that_fits_nowhere_ends_the_run_with_the_schedulers_words(repository):
    """The provider itself would wait ten minutes for the Deployment."""
    configure(repository, "dev", gpus=9)
    code, output = rehearse(repository, "run", "--stack", "dev")
    assert code == 1
    assert "the scheduler cannot place:" in output
    assert "work/server-" in output and "Insufficient nvidia.com/gpu" in output
    up = next(line for line in output.splitlines() if line.startswith("  up "))
    assert float(up.split()[1]) < 80  # of which 25 s waiting for something to change
    assert "Traceback" not in output
    assert nothing_runs(repository)


def test_a_size_that_azure_no_longer_sells(repository):
    code, output = rehearse(repository, "run", "--stack", "dev", "--subscription", "today")
    assert code == 1
    assert "The VM size of Standard_NC24s_v3 is not allowed in your subscription in location 'eastus'." in output
    assert "Traceback" not in output
    assert nothing_runs(repository)


def test_kept_for_a_look_and_then_cleaned(repository):
    layout = Layout.of_stack("dev", repository)
    code, output = rehearse(repository, "run", "--stack", "dev", "--keep")
    assert code == 0, output
    assert f"export KUBECONFIG={layout.kubeconfig}" in output
    nodes = subprocess.run(["kubectl", "--kubeconfig", layout.kubeconfig, "get", "nodes", "-o", "name"], capture_output=True, text=True)
    assert len(nodes.stdout.split()) == 3
    code, output = rehearse(repository, "clean", "--stack", "dev")
    assert code == 0 and nothing_runs(repository) and not layout.root.exists()


def test_a_crash_between_azure_and_the_engine_is_told(repository):
    """Azure has the pool, the engine does not know: the next run finds it there, as a person would on the cloud."""
    code, output = rehearse(repository, "run", "--stack", "dev", "--fault", "crash:AgentPool")
    assert code == 1
    assert "cannot create already existing resource" in output
    assert nothing_runs(repository)


def test_an_unknown_stack_and_an_unknown_subscription(repository):
    code, output = rehearse(repository, "run", "--stack", "prd")
    assert code == 1 and "there is no stack 'prd'" in output and "there are: dev" in output
    code, output = rehearse(repository, "run", "--stack", "dev", "--subscription", "tomorrow")
    assert code == 1 and "there are: default, no-zones, tight-quota, today" in output
