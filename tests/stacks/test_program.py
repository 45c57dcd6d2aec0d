"""What `pulumi up` runs: everything, or first the network where nobody could reach the rest."""

import pytest

from settings import load
from stacks import config, preflight, program
from stacks.running import Running
from tests.mocks import run

PRIVATE = {"cluster": '{"private": true}', "azure": '{"network": {"buildersCidr": "10.64.9.0/27"}}'}
NETWORK = {"subnets": [{"name": "nodes"}, {"name": "private-endpoints"}, {"name": "builders"}]}
CLUSTER = "azure-native:containerservice:ManagedCluster"


@pytest.fixture
def up(recorder, monkeypatch):
    """`up(settings, running)` runs the program and gives the types that it registers in Azure."""

    def up(sections, running):
        monkeypatch.setattr(config, "from_program", lambda: load(sections))
        monkeypatch.setattr(preflight, "ask", lambda *_: running)
        run(lambda: program.main())
        return {one.type for one in recorder.resources if one.type.startswith("azure-native:")}

    return up


def test_a_private_cluster_is_made_from_inside_its_network(up):
    """One `up` made a cluster that nobody could reach, and then waited for its API server until it gave up."""
    first = up(PRIVATE, Running())
    assert {kind.rsplit(":", 1)[1] for kind in first} == {
        "ResourceGroup",
        "PublicIPAddress",
        "NatGateway",
        "NetworkSecurityGroup",
        "VirtualNetwork",
        "Subnet",
    }
    assert CLUSTER in up(PRIVATE, Running(network=NETWORK))


def test_a_public_cluster_is_made_at_once(up):
    assert CLUSTER in up({}, Running())
