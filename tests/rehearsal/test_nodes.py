"""Nodes are what AKS's pages say a node of that size is."""

import pytest

from rehearsal.azure.nodes import GPU_INSTANCES, desired_nodes, kube_reserved_cpu, kube_reserved_mib, node_manifests, resources
from rehearsal.azure.subscription import Size, sizes

POOL = {"vmSize": "Standard_NC24s_v3", "count": 4, "availabilityZones": ["1", "2", "3"]}
PLACE = {"cluster_id": "/c", "region": "eastus", "node_group": "MC_rg_aks_eastus", "version": "1.36.3"}


@pytest.mark.parametrize(("cores", "millicores"), [(1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740)])
def test_reserved_cpu_is_the_published_table(cores, millicores):
    """MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md (2026-07-02)."""
    assert kube_reserved_cpu(cores) == millicores


@pytest.mark.parametrize(("memory_gb", "pods", "reserved"), [(8, 30, 650), (4, 70, 1000)])
def test_reserved_memory_is_the_pages_examples(memory_gb, pods, reserved):
    """The page's arithmetic is decimal: 8 GB with 30 pods reserves 650 MB and leaves 7.25 GB, 4 GB with 70 pods hits the 25 % cap."""
    assert kube_reserved_mib(memory_gb * 1000, pods) == reserved


def test_allocatable_is_what_the_reservations_leave():
    size = Size(name="s", vcpus=8, memory_gib=8, local_disk_gib=0, family="f")
    capacity, allocatable = resources(size, max_pods=30, os_disk_gib=128)
    assert capacity["memory"] == "8192Mi"
    assert allocatable["memory"] == f"{8192 - 650 - 100}Mi"
    assert allocatable["cpu"] == "7820m"
    assert allocatable["pods"] == "30"


def test_gpus_are_not_there_before_the_device_plugin():
    _, allocatable = resources(sizes()["standard_nc24s_v3"], 110, 128)
    assert "nvidia.com/gpu" not in allocatable


def test_names_and_zones_of_a_pools_nodes():
    nodes = node_manifests("gpu", POOL, **PLACE)
    names = [node["metadata"]["name"] for node in nodes]
    digits = names[0].split("-")[2]
    assert names == [f"aks-gpu-{digits}-vmss00000{index}" for index in range(4)]
    assert len(digits) == 8 and digits.isdigit()
    zones = [node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes]
    assert zones == ["eastus-1", "eastus-2", "eastus-3", "eastus-1"]


def test_labels_of_a_gpu_node():
    labels = node_manifests("gpu", {**POOL, "nodeLabels": {"a": "b"}}, **PLACE)[0]["metadata"]["labels"]
    expected = {
        "agentpool": "gpu",
        "kubernetes.azure.com/agentpool": "gpu",
        "kubernetes.azure.com/cluster": "MC_rg_aks_eastus",
        "kubernetes.azure.com/mode": "user",
        "kubernetes.azure.com/accelerator": "nvidia",
        "node.kubernetes.io/instance-type": "Standard_NC24s_v3",
        "topology.kubernetes.io/region": "eastus",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "a": "b",
    }
    assert expected.items() <= labels.items()


def test_spot_nodes_have_aks_label_and_taint_once():
    pool = {
        **POOL,
        "scaleSetPriority": "Spot",
        "nodeTaints": ["nvidia.com/gpu=true:NoSchedule", "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"],
    }
    node = node_manifests("gpu", pool, **PLACE)[0]
    assert node["metadata"]["labels"]["kubernetes.azure.com/scalesetpriority"] == "spot"
    assert node["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "true"},
        {"key": "kubernetes.azure.com/scalesetpriority", "effect": "NoSchedule", "value": "spot"},
    ]


def test_an_autoscaled_pool_starts_with_its_minimum():
    assert (
        len(node_manifests("gpu", {"vmSize": "Standard_NC24s_v3", "enableAutoScaling": True, "minCount": 2, "maxCount": 9}, **PLACE)) == 2
    )


def test_a_stopped_pool_has_no_nodes():
    assert node_manifests("gpu", {**POOL, "powerState": {"code": "Stopped"}}, **PLACE) == []


def test_the_clouds_pools_are_the_inline_ones_and_the_others(landscape):
    landscape.make_cluster()
    landscape.make_pool(count=3)
    nodes = desired_nodes(landscape.azure.provider.state.read())
    assert {pool.rsplit("/", 1)[1]: len(found) for pool, found in nodes.items()} == {"system": 1, "gpu": 3}


@pytest.mark.parametrize(("profile", "devices"), [(None, "1"), ("MIG1g", "7"), ("MIG3g", "2")])
def test_multi_instance_gpus_are_several_devices(profile, devices):
    """The node controller multiplies by it once the device plugin is ready."""
    pool = {"vmSize": "Standard_NC24ads_A100_v4", "count": 1, **({"gpuInstanceProfile": profile} if profile else {})}
    [node] = node_manifests("gpu", pool, **PLACE)
    assert node["metadata"]["annotations"][GPU_INSTANCES] == devices
