"""The cluster: closed by default, upgraded in its window, and not undone by its own autoscaler."""

import base64

import pytest

from infra.azure.cluster import Cluster, ClusterArgs
from infra.azure.identity import Identity
from settings.platform import Cluster as Settings
from settings.platform import MaintenanceWindow, SystemPool
from settings.platform import Network as Addresses
from tests import mocks
from tests.mocks import run

CLUSTER = "azure-native:containerservice:ManagedCluster"
GRANT = "azure-native:authorization:RoleAssignment"
KUBELET = Identity(**{part: f"{part} of the kubelets" for part in ("id", "name", "client_id", "principal_id")})


def cluster_args(context, network, settings=None, **changes):
    others = {"managed_prometheus": False, "protect": False, "termination_grace_seconds": 120, "kubelet": KUBELET} | changes
    return ClusterArgs(context=context, network=network, settings=settings or Settings(), addresses=Addresses(), **others)


def deploy(context, network, settings=None, **changes):
    return run(lambda: Cluster("cluster", cluster_args(context, network, settings, **changes)).kubeconfig)


@pytest.fixture
def inputs(recorder, context, network):
    deploy(context, network)
    return recorder.one(CLUSTER).inputs


def test_pods_get_overlay_addresses_through_cilium(inputs):
    assert inputs["networkProfile"] == {
        "networkPlugin": "azure",
        "networkPluginMode": "overlay",
        "networkDataplane": "cilium",
        "networkPolicy": "cilium",
        "loadBalancerSku": "standard",
        "outboundType": "userAssignedNATGateway",
        "podCidr": "10.244.0.0/16",
        "serviceCidr": "10.65.0.0/16",
        "dnsServiceIP": "10.65.0.10",
    }


def test_only_entra_identities_get_in(inputs):
    assert inputs["disableLocalAccounts"] is True
    assert inputs["aadProfile"] == {"managed": True, "enableAzureRBAC": True, "adminGroupObjectIDs": []}
    assert inputs["enableRBAC"] is True


def test_pods_get_azure_identities(inputs):
    assert inputs["oidcIssuerProfile"] == {"enabled": True}
    assert inputs["securityProfile"]["workloadIdentity"] == {"enabled": True}


def test_the_add_ons_that_the_workload_needs_are_enabled_and_no_other(inputs):
    assert [name for name, add_on in inputs["addonProfiles"].items() if add_on["enabled"]] == []
    assert {driver: state["enabled"] for driver, state in inputs["storageProfile"].items()} == dict.fromkeys(
        ("blobCSIDriver", "diskCSIDriver", "fileCSIDriver", "snapshotController"), True
    )
    assert inputs["workloadAutoScalerProfile"] == {"keda": {"enabled": True}}
    assert inputs["securityProfile"]["imageCleaner"] == {"enabled": True, "intervalHours": 168}


def test_node_resource_group_is_ours_to_name_and_not_to_change(inputs):
    assert inputs["nodeResourceGroup"] == "rg-zig-ai-test-nodes"
    assert inputs["nodeResourceGroupProfile"] == {"restrictionLevel": "ReadOnly"}


def test_api_server_is_open_to_all_only_when_nothing_is_said(inputs):
    assert inputs["apiServerAccessProfile"] == {"enablePrivateCluster": False, "disableRunCommand": True}


def test_authorised_ranges_let_the_nodes_in_too(recorder, context, network):
    """Without the NAT gateway's address, no node can join: AKS adds only its own load balancer's."""
    deploy(context, network, Settings(authorized_ip_ranges=("20.30.0.0/24",)))
    assert recorder.one(CLUSTER).inputs["apiServerAccessProfile"] == {
        "enablePrivateCluster": False,
        # A way in that no range would stop.
        "disableRunCommand": True,
        "authorizedIPRanges": ["20.30.0.0/24", "203.0.113.7/32"],
    }


def test_a_private_cluster_has_no_ranges(recorder, context, network):
    deploy(context, network, Settings(private=True, authorized_ip_ranges=("20.30.0.0/24",)))
    assert recorder.one(CLUSTER).inputs["apiServerAccessProfile"] == {
        "enablePrivateCluster": True,
        "privateDNSZone": "system",
        "disableRunCommand": False,
    }


@pytest.mark.parametrize(
    ("tier", "cost_analysis", "support"),
    [("Free", False, "KubernetesOfficial"), ("Standard", True, "KubernetesOfficial"), ("Premium", True, "AKSLongTermSupport")],
)
def test_the_tier_decides_cost_analysis_and_the_support_plan(recorder, context, network, tier, cost_analysis, support):
    deploy(context, network, Settings(tier=tier))
    inputs = recorder.one(CLUSTER).inputs
    assert inputs["sku"] == {"name": "Base", "tier": tier}
    assert inputs["metricsProfile"]["costAnalysis"]["enabled"] is cost_analysis
    assert inputs["supportPlan"] == support


def test_the_system_pool_scales_without_zones_or_taints(recorder, context, network):
    deploy(context, network, Settings(system_pool=SystemPool(vm_size="Standard_D8ds_v5", min_nodes=2, max_nodes=5), zones=()))
    (pool,) = recorder.one(CLUSTER).inputs["agentPoolProfiles"]
    assert (pool["name"], pool["mode"], pool["vmSize"]) == ("system", "System", "Standard_D8ds_v5")
    assert (pool["enableAutoScaling"], pool["count"], pool["minCount"], pool["maxCount"]) == (True, 2, 2, 5)
    assert "availabilityZones" not in pool
    assert pool["localDNSProfile"] == {"mode": "Disabled"}
    # The coordinator and Prometheus live here.
    assert "nodeTaints" not in pool
    assert pool["vnetSubnetID"].endswith("network-nodes")


def test_a_running_system_pool_keeps_the_nodes_it_has(recorder, context, network):
    """The pool is found by its name: Azure lists all pools of a cluster, and the first of them is another one."""
    deploy(context, network, Settings(system_pool=SystemPool(min_nodes=2, max_nodes=5)), node_counts={"gpu0ld": 8, "system": 4})
    (pool,) = recorder.one(CLUSTER).inputs["agentPoolProfiles"]
    assert (pool["count"], pool["minCount"]) == (4, 2)


def test_upgrades_stay_in_the_window(recorder, context, network):
    deploy(context, network, Settings(maintenance=MaintenanceWindow(day="Tuesday", start="03:30", hours=6)))
    assert recorder.one(CLUSTER).inputs["autoUpgradeProfile"] == {"upgradeChannel": "patch", "nodeOSUpgradeChannel": "NodeImage"}
    windows = recorder.all("azure-native:containerservice:MaintenanceConfiguration")
    assert {w.inputs["configName"] for w in windows} == {"aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule"}
    for window in windows:
        assert window.inputs["maintenanceWindow"] == {
            "schedule": {"weekly": {"dayOfWeek": "Tuesday", "intervalWeeks": 1}},
            "startTime": "03:30",
            "durationHours": 6,
            "utcOffset": "+00:00",
        }


def test_autoscaler_may_empty_gpu_nodes(recorder, context, network):
    """Otherwise a pod with an emptyDir, which every shard has, keeps its node for ever."""
    deploy(context, network, termination_grace_seconds=90)
    profile = recorder.one(CLUSTER).inputs["autoScalerProfile"]
    assert profile["skipNodesWithLocalStorage"] == "false"
    assert profile["maxGracefulTerminationSec"] == "90"


@pytest.mark.parametrize("wanted", [True, False])
def test_managed_prometheus_is_on_only_when_asked_for(recorder, context, network, wanted):
    deploy(context, network, managed_prometheus=wanted)
    assert recorder.one(CLUSTER).inputs["azureMonitorProfile"] == {"metrics": {"enabled": wanted}}


@pytest.mark.parametrize("protect", [True, False])
def test_the_cluster_is_protected_as_asked(recorder, context, network, protect):
    deploy(context, network, protect=protect)
    options = recorder.options_of(CLUSTER)
    assert options.parent == "cluster"
    assert options.protect is protect
    assert options.ignore_changes == []
    assert {"cluster-identity", "cluster-subnet", "cluster-kubelet"} <= options.depends_on


def test_identity_may_use_the_subnet_and_no_more(recorder, context, network):
    deploy(context, network)
    grant = recorder.one(GRANT, "cluster-subnet").inputs
    assert grant["scope"].endswith("network-nodes")
    assert grant["roleDefinitionId"].endswith("/4d97b98b-1d4f-4787-a291-c67834d212e7")
    assert grant["principalId"] == "principal of id-aks-zig-ai-test"
    assert recorder.one(CLUSTER).inputs["identity"]["type"] == "UserAssigned"


def test_nodes_get_an_identity_that_was_there_before_them(recorder, context, network):
    """AKS's own is known with the cluster only: images could not be pulled at first, and each preview showed the right to replace."""
    deploy(context, network)
    assert recorder.one(CLUSTER).inputs["identityProfile"] == {"kubeletidentity": {"resourceId": "id of the kubelets"}}
    grant = recorder.one(GRANT, "cluster-kubelet").inputs
    assert (grant["scope"], grant["principalId"]) == ("id of the kubelets", "principal of id-aks-zig-ai-test")
    assert grant["roleDefinitionId"].endswith("/f1a07417-d97a-45cb-824c-7a7467783830")


def test_kubeconfig_is_decoded_and_secret(recorder, context, network, monkeypatch):
    text = "args:\n- --login\n- devicecode\n"
    answer = {"kubeconfigs": [{"name": "clusterUser", "value": base64.b64encode(text.encode()).decode()}]}
    monkeypatch.setitem(mocks.CALLS, "azure-native:containerservice:listManagedClusterUserCredentials", answer)

    def program():
        text = Cluster("cluster", cluster_args(context, network)).kubeconfig
        return {"text": text, "secret": text.is_secret()}

    assert run(program) == {"text": "args:\n- --login\n- azurecli\n", "secret": True}
