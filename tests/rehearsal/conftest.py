"""A rehearsed subscription in a temporary folder, without a cluster behind it."""

import os
from pathlib import Path

import pytest

from rehearsal.azure import effects
from rehearsal.cluster import control_plane
from rehearsal.layout import Layout
from tests.rehearsal.azure_client import AzureClient
from tests.rehearsal.tiny_runs import copied, rehearse
from toolchain.cache import Cache
from toolchain.recipes import GROUPS


@pytest.fixture(scope="session", autouse=True)
def types(pytestconfig):
    """Azure's types are read from the SDK once for all tests, and kept from one run to the next in pytest's own folder."""
    patch = pytest.MonkeyPatch()
    patch.setenv("REHEARSAL_SCHEMA_CACHE", str(pytestconfig.cache.mkdir("azure-types")))
    yield
    patch.undo()


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory):
    """PATH has the programs of the toolchain that `make rehearse` installs and no other, so that a rehearsal that needs more fails."""
    cache, folder = Cache.of_user(), tmp_path_factory.mktemp("groups")
    (folder / "bin").mkdir()
    (folder / "share").symlink_to(cache.share)
    recipes = [recipe for group in ("engine", "cluster") for recipe in GROUPS[group]]
    names = [output.name for recipe in recipes for output in recipe.outputs]
    names += [Path(copy.target).name for recipe in recipes for copy in recipe.copies if copy.target.startswith("bin/")]
    for name in names:
        (folder / "bin" / name).symlink_to(cache.bin / name)
    others = [entry for entry in os.get_exec_path() if Path(entry) != cache.bin]
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", os.pathsep.join([str(folder / "bin"), *others]))
    yield
    patch.undo()


@pytest.fixture
def repository(tmp_path):
    """The small program, to be rehearsed; whatever a test leaves is taken away."""
    yield copied(tmp_path / "tiny")
    rehearse(tmp_path / "tiny", "clean")


@pytest.fixture
def no_cluster(monkeypatch):
    """Clusters and nodes are accepted but not started."""
    monkeypatch.setattr(effects, "written", lambda *_: None)
    monkeypatch.setattr(effects, "deleted", lambda *_: None)
    monkeypatch.setattr(control_plane, "kubernetes_version", lambda: "1.36.3")


@pytest.fixture
def subscribe(tmp_path, no_cluster):
    """`subscribe("today")` is a client of that subscription."""
    clients = []

    def make(name="default"):
        clients.append(AzureClient(Layout(tmp_path / name), name))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def azure(subscribe):
    """The default subscription."""
    return subscribe()


@pytest.fixture
def landscape(azure):
    """A group, a network with a subnet behind a NAT gateway."""
    return Landscape(azure)


class Landscape:
    """The resources that a pool needs."""

    def __init__(self, azure, location="eastus"):
        self.azure, self.location = azure, location
        self.group = azure.create("resources:ResourceGroup", resourceGroupName="rg", location=location)
        self.address = azure.create(
            "network:PublicIPAddress",
            resourceGroupName="rg",
            publicIpAddressName="pip",
            sku={"name": "Standard"},
            publicIPAllocationMethod="Static",
        )
        self.nat = azure.create(
            "network:NatGateway",
            resourceGroupName="rg",
            natGatewayName="nat",
            sku={"name": "Standard"},
            publicIpAddresses=[{"id": self.address.id}],
        )
        self.vnet = azure.create(
            "network:VirtualNetwork", resourceGroupName="rg", virtualNetworkName="vnet", addressSpace={"addressPrefixes": ["10.10.0.0/16"]}
        )
        self.subnet = self.make_subnet("nodes", "10.10.0.0/22", natGateway={"id": self.nat.id})

    def make_subnet(self, name, prefix, **more):
        return self.azure.create(
            "network:Subnet", resourceGroupName="rg", virtualNetworkName="vnet", subnetName=name, addressPrefix=prefix, **more
        )

    def system_pool(self, **more):
        base = {"name": "system", "mode": "System", "count": 1, "vmSize": "Standard_D4ds_v5", "vnetSubnetID": self.subnet.id}
        return {**base, **more}

    def cluster(self, *pools, **more):
        return {
            "resourceGroupName": "rg",
            "resourceName": "aks",
            "dnsPrefix": "aks",
            "identity": {"type": "SystemAssigned"},
            "agentPoolProfiles": list(pools) or [self.system_pool()],
            **more,
        }

    def make_cluster(self, *pools, **more):
        return self.azure.create("containerservice:ManagedCluster", **self.cluster(*pools, **more))

    def live(self):
        """The nodes that each pool has now."""
        return {pool["name"]: pool["count"] for pool in self.azure.provider.state.read().pools.values()}

    def pool(self, name="gpu", **more):
        base = {"count": 1, "vmSize": "Standard_NC24s_v3", "vnetSubnetID": self.subnet.id}
        return {"resourceGroupName": "rg", "resourceName": "aks", "agentPoolName": name, **base, **more}

    def make_pool(self, name="gpu", **more):
        return self.azure.create("containerservice:AgentPool", **self.pool(name, **more))
