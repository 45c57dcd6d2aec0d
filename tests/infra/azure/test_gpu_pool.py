"""GPU pools: right at creation, as almost nothing can be changed later, and replaced side by side."""

import dataclasses

import pulumi
import pytest

from infra.azure import gpu_pool
from infra.azure.gpu_pool import GpuPoolArgs
from planner.catalogue.local_disk import os_disk_type
from settings.operations import NodeTuning
from settings.platform import GpuPool, Rollout
from settings.quantities import Duration
from tests.infra.azure.conftest import gpu_size, pool_plan
from tests.mocks import run

POOL = "azure-native:containerservice:AgentPool"


@pytest.fixture
def args(context):
    return GpuPoolArgs(
        context=context,
        cluster_name="aks-zig-ai-test",
        subnet_id="subnet",
        kubernetes_version="1.36",
        plan=pool_plan(),
        settings=GpuPool(),
        tuning=NodeTuning(),
        rollout=Rollout(),
        weights_on_node=False,
        encryption_at_host=False,
    )


@pytest.fixture
def deploy(recorder, args):
    def deployed(**changes):
        parent = pulumi.ComponentResource("test:test:Parent", "parent")
        run(lambda: gpu_pool.gpu_pool("gpu-pool", dataclasses.replace(args, **changes), parent=parent).name)
        return recorder.all(POOL)[-1].inputs

    return deployed


def test_the_machine_is_linux_with_azures_gpu_driver_and_an_ephemeral_disk(deploy):
    pool = deploy()
    assert (pool["vmSize"], pool["osType"], pool["osSKU"], pool["mode"]) == ("Standard_NC24s_v3", "Linux", "Ubuntu", "User")
    assert pool["gpuProfile"] == {"driver": "Install"}
    assert (pool["osDiskType"], pool["osDiskSizeGB"]) == ("Ephemeral", 128)
    assert pool["availabilityZones"] == ["1", "2", "3"]
    assert (pool["enableNodePublicIP"], pool["enableFIPS"]) == (False, False)


def test_only_gpu_pods_land_here(deploy):
    pool = deploy()
    assert pool["nodeTaints"] == ["nvidia.com/gpu=true:NoSchedule"]
    assert pool["nodeLabels"] == {"zig-ai.io/gpu": "true", "zig-ai.io/gpu-model": "v100"}


def test_pods_ask_the_clusters_own_resolvers(deploy):
    """AKS turns a resolver on the node on by itself from 1.37 on, which the network policies do not let pods reach."""
    assert deploy()["localDNSProfile"] == {"mode": "Disabled"}


def test_node_count_is_the_plans(deploy):
    pool = deploy()
    assert (pool["enableAutoScaling"], pool["count"], pool["minCount"], pool["maxCount"]) == (True, 8, 4, 9)


def test_a_running_pool_keeps_the_nodes_it_has(deploy):
    """Azure refuses another number for a pool that scales itself, or scales to it: an `up` for a tag took nodes from running pipelines."""
    name = deploy()["agentPoolName"]
    assert deploy(node_counts={name: 5, "system": 2})["count"] == 5
    assert deploy(node_counts={"gpu0ld": 5})["count"] == 8


def test_kubelet_and_kernel(deploy):
    pool = deploy(
        settings=GpuPool(topology_manager_policy="single-numa-node", sysctls={"net.core.somaxconn": 16384, "net.ipv4.tcp_tw_reuse": 1}),
        tuning=NodeTuning(transparent_huge_pages="madvise"),
    )
    assert pool["kubeletConfig"] == {"cpuManagerPolicy": "static", "topologyManagerPolicy": "single-numa-node"}
    assert pool["linuxOSConfig"] == {
        "transparentHugePageEnabled": "madvise",
        "sysctls": {"netCoreSomaxconn": 16384, "netIpv4TcpTwReuse": True},
    }


def test_no_sysctls_asked_none_sent(deploy):
    assert "sysctls" not in deploy()["linuxOSConfig"]


@pytest.mark.parametrize(("temp_disk_gib", "expected"), [(2948, "Ephemeral"), (128, "Ephemeral"), (64, "Managed"), (None, "Managed")])
def test_os_disk_is_local_where_it_fits(temp_disk_gib, expected):
    assert os_disk_type(gpu_size(temp_disk_gib=temp_disk_gib), 128, for_weights=False) == expected


def test_a_plan_without_zones_leaves_the_property_out(deploy):
    assert "availabilityZones" not in deploy(plan=pool_plan(zones=()))


def test_gpus_are_cut_only_when_asked(deploy):
    assert deploy(settings=GpuPool(mig="MIG2g"))["gpuInstanceProfile"] == "MIG2g"


def test_whole_gpus_have_no_profile(deploy):
    """Not even an empty one: it would be in the hash, and replace every pool there is."""
    assert "gpuInstanceProfile" not in deploy()


def test_regular_machines_are_upgraded_by_surge_and_drained_long_enough(deploy):
    """A drain must outlast the last request and the load of the same weights elsewhere, or AKS kills what is being served."""
    pool = deploy(settings=GpuPool(max_surge="33%"), rollout=Rollout(termination_grace=Duration("90s"), model_load_timeout=Duration("1h")))
    assert pool["upgradeSettings"] == {
        "maxSurge": "33%",
        "maxUnavailable": "0",
        "drainTimeoutInMinutes": 67,
        "undrainableNodeBehavior": "Cordon",
    }
    assert (pool["scaleSetPriority"], pool.get("scaleSetEvictionPolicy"), pool.get("spotMaxPrice")) == ("Regular", None, None)


def test_without_quota_for_a_surge_nodes_are_upgraded_in_their_place(deploy):
    """AKS needs one of the two, and the weekly upgrade failed each week where the quota was for the nodes alone."""
    upgrade = deploy(settings=GpuPool(max_surge="0"))["upgradeSettings"]
    assert (upgrade["maxSurge"], upgrade["maxUnavailable"]) == ("0", "1")


def test_drain_timeout_has_azures_limit(deploy):
    assert deploy(rollout=Rollout(model_load_timeout=Duration("24h")))["upgradeSettings"]["drainTimeoutInMinutes"] == 1440


def test_spot_nodes_are_tainted_and_deleted_on_eviction(deploy):
    pool = deploy(settings=GpuPool(spot=True))
    assert (pool["scaleSetPriority"], pool["scaleSetEvictionPolicy"], pool["spotMaxPrice"]) == ("Spot", "Delete", -1.0)
    assert "kubernetes.azure.com/scalesetpriority=spot:NoSchedule" in pool["nodeTaints"]
    assert pool["nodeLabels"]["kubernetes.azure.com/scalesetpriority"] == "spot"
    assert "upgradeSettings" not in pool


def test_a_pool_is_replaced_before_the_old_one_is_deleted(recorder, deploy):
    deploy()
    options = recorder.options_of(POOL)
    assert options.parent == "parent"
    # None would let the provider delete the pool before there is another: it asks for that on every replacement.
    assert options.delete_before_replace is False


FIXED = {
    "size": {"plan": pool_plan(size=gpu_size(name="Standard_NC48ads_A100_v4"))},
    "os disk": {"settings": GpuPool(os_disk_gib=256)},
    "zones": {"plan": pool_plan(zones=("1",))},
    "encryption": {"encryption_at_host": True},
    "mig": {"settings": GpuPool(mig="MIG1g")},
    "spot": {"settings": GpuPool(spot=True)},
    "cpu manager": {"settings": GpuPool(cpu_manager_policy="none")},
    "topology manager": {"settings": GpuPool(topology_manager_policy="restricted")},
    "sysctls": {"settings": GpuPool(sysctls={"vm.swappiness": 1})},
    "huge pages": {"tuning": NodeTuning(transparent_huge_pages="never")},
}
CHANGEABLE = {
    "nodes": {"plan": pool_plan(nodes=2, min_nodes=1, max_nodes=3)},
    "surge": {"settings": GpuPool(max_surge="50%")},
    "version": {"kubernetes_version": "1.37"},
    "rollout": {"rollout": Rollout(model_load_timeout=Duration("1h"))},
    "zones in another order": {"plan": pool_plan(zones=("3", "2", "1"))},
    "zones that this pool is not in": {"settings": GpuPool(zones=("1",))},
}


def name_of(args):
    return args.azure_name


@pytest.mark.parametrize("what", FIXED)
def test_a_change_that_aks_refuses_gets_a_new_name(args, what):
    assert name_of(dataclasses.replace(args, **FIXED[what])) != name_of(args)


@pytest.mark.parametrize("what", CHANGEABLE)
def test_a_change_that_aks_takes_keeps_the_name(args, what):
    """A new name here would move every shard to new machines for a change of a label or a number."""
    assert name_of(dataclasses.replace(args, **CHANGEABLE[what])) == name_of(args)


def test_every_input_is_in_the_hash_or_can_change_in_place(args, deploy):
    """An input that is neither would be sent as an update, and AKS would refuse it half-way through a deployment."""
    from pulumi._types import input_type_py_to_pulumi_names
    from pulumi_azure_native.containerservice.agent_pool import AgentPoolArgs

    names = input_type_py_to_pulumi_names(AgentPoolArgs)
    hashed = {names[name] for name in gpu_pool.fixed_at_creation(args)}
    assert set(deploy()) - hashed == {
        "agentPoolName",
        "count",
        "enableAutoScaling",
        "localDNSProfile",
        "maxCount",
        "minCount",
        "nodeLabels",
        "nodeTaints",
        "orchestratorVersion",
        "resourceGroupName",
        "resourceName",
        "scaleDownMode",
        "tags",
        "upgradeSettings",
        "vnetSubnetID",
    }
