"""A small program on the real engine and a real control plane: what a person reads when it cannot work."""

import pytest

from tests.rehearsal.tiny_runs import configure, nothing_runs, rehearse

pytestmark = pytest.mark.process


def test_a_pod_that_fits_nowhere_ends_the_run_with_the_schedulers_words(repository):
    """The provider itself would wait ten minutes for the Deployment."""
    configure(repository, "dev", gpus=9)
    code, output = rehearse(repository, "run", "--stack", "dev")
    assert code == 1
    assert "the scheduler cannot place:" in output
    assert "work/server-" in output and "Insufficient nvidia.com/gpu" in output
    up = next(line for line in output.splitlines() if line.startswith("  up "))
    assert float(up.split()[1]) < 200  # 50 s, of which 25 s waiting for something to change, on a machine that does nothing else
    assert "Traceback" not in output
    assert nothing_runs(repository)


def test_a_size_that_azure_no_longer_sells(repository):
    code, output = rehearse(repository, "run", "--stack", "dev", "--subscription", "today")
    assert code == 1
    assert "The VM size of Standard_NC24s_v3 is not allowed in your subscription in location 'eastus'." in output
    assert "Traceback" not in output
    assert nothing_runs(repository)


def test_an_unknown_stack_and_an_unknown_subscription(repository):
    code, output = rehearse(repository, "run", "--stack", "prd")
    assert code == 1 and "there is no stack 'prd'" in output and "the stacks are: dev" in output
    code, output = rehearse(repository, "run", "--stack", "dev", "--subscription", "tomorrow")
    assert code == 1 and "there are: default, encrypted, granted, no-zones, tight-quota, today" in output


def test_a_fault_that_hits_nothing_is_told(repository):
    """Else a misspelt type would pass for one that the program survives."""
    code, output = rehearse(repository, "run", "--stack", "dev", "--fault", "500:AgentPol")
    assert code == 1 and "no resource of that type: 500:AgentPol" in output
    assert nothing_runs(repository)


@pytest.mark.parametrize("command", ["run", "clean"])
@pytest.mark.parametrize("stack", ["../kept", "kept/..", "..", "", "{absolute}"])
def test_a_stack_whose_name_leads_elsewhere_costs_nobody_a_file(command, stack, repository):
    """A run begins and ends by removing its folder: `--stack ../tests` would have been the repository's own."""
    kept = repository / "kept"
    kept.mkdir()
    before = sorted(path.name for path in repository.iterdir())
    code, output = rehearse(repository, command, "--stack", stack.format(absolute=kept))
    assert code == 2 and "is not a valid stack name" in output
    assert kept.exists() and sorted(path.name for path in repository.iterdir()) == before
