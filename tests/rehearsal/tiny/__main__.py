"""A group, a network, a cluster with a GPU pool; on it a Deployment with GPUs and a LeaderWorkerSet from the official chart."""

import base64

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_azure_native import containerservice, network, resources

config = pulumi.Config()
group = resources.ResourceGroup("group", resource_group_name=f"rg-tiny-{pulumi.get_stack()}", location=config.get("location") or "eastus")
vnet = network.VirtualNetwork(
    "network",
    resource_group_name=group.name,
    virtual_network_name="vnet-tiny",
    address_space={"address_prefixes": ["10.10.0.0/16"]},
)
nodes = network.Subnet(
    "nodes", resource_group_name=group.name, virtual_network_name=vnet.name, subnet_name="nodes", address_prefix="10.10.0.0/22"
)
cluster = containerservice.ManagedCluster(
    "cluster",
    resource_group_name=group.name,
    resource_name_=f"aks-tiny-{pulumi.get_stack()}",
    dns_prefix="tiny",
    identity={"type": containerservice.ResourceIdentityType.SYSTEM_ASSIGNED},
    agent_pool_profiles=[
        {"name": "system", "mode": "System", "count": 1, "vm_size": "Standard_D4ds_v5", "vnet_subnet_id": nodes.id, "max_pods": 110}
    ],
    opts=pulumi.ResourceOptions(protect=config.get_bool("protect") or False),
)
pool = containerservice.AgentPool(
    "gpu",
    resource_group_name=group.name,
    resource_name_=cluster.name,
    agent_pool_name="gpu",
    count=2,
    vm_size=config.get("vmSize") or "Standard_NC24s_v3",
    vnet_subnet_id=nodes.id,
    availability_zones=["1", "2", "3"],
    node_taints=["nvidia.com/gpu=true:NoSchedule"],
)
credentials = containerservice.list_managed_cluster_user_credentials_output(resource_group_name=group.name, resource_name=cluster.name)
provider = kubernetes.Provider(
    "kubernetes",
    kubeconfig=credentials.apply(lambda answer: base64.b64decode(answer.kubeconfigs[0].value).decode()),
    cluster_identifier=cluster.name,
    opts=pulumi.ResourceOptions(depends_on=[pool]),
)
on_cluster = pulumi.ResourceOptions(provider=provider)
namespace = kubernetes.core.v1.Namespace("work", metadata={"name": "work"}, opts=on_cluster)
tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
plugin = kubernetes.apps.v1.DaemonSet(
    "device-plugin",
    metadata={"namespace": "kube-system", "name": "device-plugin"},
    spec={
        "selector": {"match_labels": {"app": "device-plugin"}},
        "template": {
            "metadata": {"labels": {"app": "device-plugin"}},
            "spec": {
                "tolerations": tolerations,
                "node_selector": {"kubernetes.azure.com/accelerator": "nvidia"},
                "containers": [{"name": "plugin", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0"}],
            },
        },
    },
    opts=on_cluster,
)
gpu = {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
server = {"name": "server", "image": "example.com/server:1", "resources": gpu}
deployment = kubernetes.apps.v1.Deployment(
    "server",
    metadata={"namespace": namespace.metadata.name, "name": "server"},
    spec={
        "replicas": config.get_int("gpus") or 4,
        "selector": {"match_labels": {"app": "server"}},
        "template": {"metadata": {"labels": {"app": "server"}}, "spec": {"tolerations": tolerations, "containers": [server]}},
    },
    opts=pulumi.ResourceOptions(provider=provider, depends_on=[plugin]),
)
chart_namespace = kubernetes.core.v1.Namespace("lws-system", metadata={"name": "lws-system"}, opts=on_cluster)
chart = kubernetes.helm.v4.Chart(
    "lws",
    chart=config.require_object("cluster")["leaderWorkerSetChart"],
    namespace=chart_namespace.metadata.name,
    opts=pulumi.ResourceOptions(provider=provider),
)
workers = kubernetes.apiextensions.CustomResource(
    "group",
    api_version="leaderworkerset.x-k8s.io/v1",
    kind="LeaderWorkerSet",
    metadata={"namespace": namespace.metadata.name, "name": "group", "annotations": {"pulumi.com/waitFor": "condition=Available"}},
    spec={
        "replicas": 1,
        "leaderWorkerTemplate": {
            "size": 3,
            "workerTemplate": {"spec": {"tolerations": tolerations, "containers": [server]}},
        },
    },
    opts=pulumi.ResourceOptions(provider=provider, depends_on=[chart]),
)
pulumi.export("cluster", cluster.name)
