"""What a node of an AKS pool looks like: name, labels, taints, zone, capacity and what AKS leaves for pods.

Reservations: MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md @ccbb339b (2026-07-02). Its table of
CPU ends at 64 cores and gives no formula; the brackets below give exactly its numbers and are what
Azure/karpenter-provider-azure pkg/providers/instancetype/instancetype.go codes. Memory (Kubernetes 1.29 and later):
min(20 MB x max pods + 50 MB, 25 %) and 100 MiB for hard eviction; the page mixes MB and MiB, MiB is assumed here.
Labels and names: AKS nodes as `kubectl describe node` shows them (articles/aks/{use-labels,spot-node-pool,use-nvidia-gpu}.md).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rehearsal.azure.diff import normal_location
from rehearsal.azure.pools import node_count, pools_of
from rehearsal.azure.state import Cloud
from rehearsal.azure.subscription import Size, sizes

EVICTION_MIB = 100
GPU_INSTANCES = "rehearsal/instances-of-a-gpu"
"""An annotation: the number of devices into which Multi-Instance GPU divides each GPU of the node."""
# Instances of each profile on an A100 or H100: MicrosoftDocs/azure-aks-docs articles/aks/gpu-multi-instance.md @48f47f35
_MIG_INSTANCES = {"MIG1g": 7, "MIG2g": 3, "MIG3g": 2, "MIG4g": 1, "MIG7g": 1}
_SPOT_TAINT = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"


def kube_reserved_cpu(vcpus: int) -> int:
    """Returns the millicores that AKS reserves on a node with this number of cores."""
    brackets = [60, 40, 20, 20]  # first, second, third and fourth core; 10 for each further one
    return sum(brackets[:vcpus]) + max(vcpus - 4, 0) * 10


def kube_reserved_mib(memory_mib: int, max_pods: int) -> int:
    """Returns the MiB that AKS reserves on a node with this much memory."""
    return min(20 * max_pods + 50, memory_mib // 4)


def resources(size: Size, max_pods: int, os_disk_gib: int) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the capacity and the allocatable resources of a new node, without GPUs, which the device plugin reports."""
    memory, disk = int(size.memory_gib * 1024), os_disk_gib * 1024
    capacity = {
        "cpu": str(size.vcpus),
        "memory": f"{memory}Mi",
        "ephemeral-storage": f"{disk}Mi",
        "pods": str(max_pods),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }
    allocatable = {
        **capacity,
        "cpu": f"{size.vcpus * 1000 - kube_reserved_cpu(size.vcpus)}m",
        "memory": f"{memory - kube_reserved_mib(memory, max_pods) - EVICTION_MIB}Mi",
        "ephemeral-storage": f"{disk * 9 // 10}Mi",  # the kubelet evicts below 10 % free
    }
    return capacity, allocatable


def node_manifests(
    pool_name: str, pool: dict[str, Any], *, cluster_id: str, region: str, node_group: str, version: str
) -> list[dict[str, Any]]:
    """Returns the Node objects of a pool, spread over its zones in turn like AKS's scale sets."""
    if (pool.get("powerState") or {}).get("code") == "Stopped":
        return []
    size = sizes()[pool["vmSize"].lower()]
    capacity, allocatable = resources(size, pool.get("maxPods", 250), pool.get("osDiskSizeGB") or 128)
    zones = [f"{region}-{zone}" for zone in pool.get("availabilityZones") or []]
    digits = int(hashlib.sha256(cluster_id.lower().encode()).hexdigest(), 16) % 10**8
    manifests = []
    for index in range(node_count(pool)):
        name = f"aks-{pool_name}-{digits:08d}-vmss{_base36(index)}"
        zone = zones[index % len(zones)] if zones else "0"  # AKS puts the fault domain where there are no zones
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "annotations": {
                        "kwok.x-k8s.io/node": "fake",
                        GPU_INSTANCES: str(_MIG_INSTANCES.get(pool.get("gpuInstanceProfile", ""), 1)),
                    },
                    "labels": _labels(pool_name, pool, size, name=name, region=region, zone=zone, node_group=node_group),
                },
                "spec": {"taints": _taints(pool), "providerID": f"azure:///{node_group}/{name}"},
                "status": {
                    "capacity": capacity,
                    "allocatable": allocatable,
                    "nodeInfo": {"kubeletVersion": f"v{version}", "osImage": "Ubuntu 24.04.3 LTS", "kernelVersion": "6.8.0-1040-azure"},
                },
            }
        )
    return manifests


def _base36(number: int) -> str:
    digits, text = "0123456789abcdefghijklmnopqrstuvwxyz", ""
    for _ in range(6):
        number, rest = divmod(number, 36)
        text = digits[rest] + text
    return text


def _labels(pool_name: str, pool: dict[str, Any], size: Size, *, name: str, region: str, zone: str, node_group: str) -> dict[str, str]:
    labels = {
        "agentpool": pool_name,
        "kubernetes.azure.com/agentpool": pool_name,
        "kubernetes.azure.com/cluster": node_group[:63],
        "kubernetes.azure.com/mode": pool.get("mode", "User").lower(),
        "kubernetes.azure.com/role": "agent",
        "kubernetes.azure.com/os-sku": pool.get("osSKU", "Ubuntu"),
        "kubernetes.azure.com/nodepool-type": pool.get("type", "VirtualMachineScaleSets"),
        "kubernetes.azure.com/node-image-version": "AKSUbuntu-2404gen2containerd-202611.10.0",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": size.name,
        "beta.kubernetes.io/instance-type": size.name,
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
        "topology.disk.csi.azure.com/zone": zone if zone != "0" else "",
        "kubernetes.azure.com/ebpf-dataplane": "cilium",
    }
    if size.gpus:
        labels |= {"accelerator": "nvidia", "kubernetes.azure.com/accelerator": "nvidia"}
    if pool.get("scaleSetPriority") == "Spot":
        labels["kubernetes.azure.com/scalesetpriority"] = "spot"
    return labels | (pool.get("nodeLabels") or {})


def _taints(pool: dict[str, Any]) -> list[dict[str, str]]:
    texts = list(pool.get("nodeTaints") or [])
    if pool.get("scaleSetPriority") == "Spot" and _SPOT_TAINT not in texts:
        texts.append(_SPOT_TAINT)
    taints = []
    for text in texts:
        pair, effect = text.rsplit(":", 1)
        key, _, value = pair.partition("=")
        taints.append({"key": key, "effect": effect, **({"value": value} if value else {})})
    return taints


def desired_nodes(cloud: Cloud) -> dict[str, list[dict[str, Any]]]:
    """Returns the Node objects that should exist now, by the id of their pool."""
    nodes = {}
    for cluster in cloud.of_type("ManagedCluster"):
        for pool_id, pool in pools_of(cloud, cluster["id"]):
            nodes[pool_id.lower()] = node_manifests(
                pool_id.rsplit("/", 1)[1],
                pool,
                cluster_id=cluster["id"],
                region=normal_location(cluster["outputs"]["location"]),
                node_group=cluster["outputs"]["nodeResourceGroup"],
                version=cluster["outputs"]["currentKubernetesVersion"],
            )
    return nodes


def fingerprint(manifests: list[dict[str, Any]]) -> str:
    """Returns a digest that changes whenever anything about a pool's nodes should change."""
    return hashlib.sha256(json.dumps(manifests, sort_keys=True).encode()).hexdigest()[:16]
