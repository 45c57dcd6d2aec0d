"""All of Kubernetes for one stack, joined, in the order in which one part needs another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from engines.workload import Workload
from infra.endpoints import most_pipelines
from infra.kubernetes import names
from infra.kubernetes.autoscaling import autoscaler
from infra.kubernetes.azure_inputs import AzureInputs
from infra.kubernetes.coordinator import Coordinator, CoordinatorArgs
from infra.kubernetes.k6 import LoadTest, LoadTestArgs
from infra.kubernetes.leader_worker_set import leader_worker_set_controller
from infra.kubernetes.monitoring.alertmanager import Alertmanager, AlertmanagerArgs
from infra.kubernetes.monitoring.gpu_metrics import GpuMetrics, GpuMetricsArgs
from infra.kubernetes.monitoring.managed import managed_scrape_jobs
from infra.kubernetes.monitoring.prometheus import Prometheus, PrometheusArgs
from infra.kubernetes.namespaces import Namespaces, NamespacesArgs
from infra.kubernetes.network_policies import NetworkPolicies, NetworkPoliciesArgs
from infra.kubernetes.nodes.device_plugin import device_plugin
from infra.kubernetes.nodes.node_tuning import NodeTuning, NodeTuningArgs
from infra.kubernetes.priorities import priority_classes
from infra.kubernetes.profiling import profiling_config, profiling_file
from infra.kubernetes.shards import Shards, ShardsArgs
from infra.kubernetes.weights.fetch_job import WeightsFetch, WeightsFetchArgs
from infra.kubernetes.weights.node_copy import WeightsCopy, WeightsCopyArgs
from infra.kubernetes.weights.volume import Weights, WeightsArgs
from planner.fit.plan import Plan
from settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class KubernetesPlatform:
    """What a stack exports of Kubernetes."""

    endpoint: pulumi.Output[str]
    """Where clients send requests."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What the steps below all need."""

    settings: StackSettings
    plan: Plan
    workload: Workload
    azure: AzureInputs
    provider: pulumi.ProviderResource

    def after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a top-level resource that must wait for others."""
        return pulumi.ResourceOptions(provider=self.provider, depends_on=list(needed))


def deploy(
    settings: StackSettings, plan: Plan, workload: Workload, azure: AzureInputs, provider: pulumi.ProviderResource
) -> KubernetesPlatform:
    """Everything in the cluster, through this one provider."""
    parts = _Parts(settings=settings, plan=plan, workload=workload, azure=azure, provider=provider)
    namespaces = Namespaces("namespaces", NamespacesArgs(kubernetes_version=settings.cluster.kubernetes_version), parts.after())
    policies = NetworkPolicies("network-policies", _policies_args(parts), parts.after(namespaces))
    # Pods come after the policies: none is ever up without them, not even during the first deployment.
    ready = parts.after(namespaces, policies)
    priorities = priority_classes(parts.after())
    agents = _node_agents(parts, parts.after(namespaces, policies, *azure.gpu_nodes))
    controller = leader_worker_set_controller(settings.cluster, ready)
    profiling = profiling_config(settings.profiling, parts.after(namespaces))
    weights = Weights("zig-ai-weights", _weights_args(parts), parts.after(namespaces))
    # An admission check looks the priority class up when a pod is made. The controller's webhook must answer before a set is made.
    # The wait for the shards means something only once nodes can count GPUs and carry the label that shards select.
    serving = (namespaces, policies, *priorities, *azure.needed_to_serve)
    fetch = _weights_fetch(parts, parts.after(*serving))
    copies = _weights_copy(parts, parts.after(namespaces, policies, *azure.gpu_nodes, *azure.needed_to_serve, *fetch))
    shards = Shards(names.SHARD, _shards_args(parts), parts.after(*serving, controller, profiling, weights, *fetch, *copies, *agents))
    coordinator = Coordinator(names.COORDINATOR, _coordinator_args(parts), parts.after(*serving))
    _operations(parts, namespaces, policies, priorities, shards)
    return KubernetesPlatform(endpoint=coordinator.endpoint)


def _policies_args(parts: _Parts) -> NetworkPoliciesArgs:
    settings = parts.settings
    return NetworkPoliciesArgs(
        workload=parts.workload,
        # While a rollout replaces pipelines, there may be more.
        pipelines=most_pipelines(parts.plan) + settings.rollout.max_surge_pipelines,
        network=settings.azure.network,
        exposure=settings.exposure,
        redis=parts.plan.redis_sku is not None,
        fetches_weights=parts.plan.weights.source is not None,
        copies_weights=parts.plan.weights.on_node,
        monitoring=settings.monitoring.enabled,
        receivers=settings.monitoring.receivers,
        managed=settings.monitoring.managed_prometheus,
        autoscaling=settings.autoscaling.enabled,
    )


def _node_agents(parts: _Parts, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """What a GPU node needs before a shard can be placed on it."""
    settings = parts.settings
    pool = settings.gpu_pool
    plugin = device_plugin(
        settings.images.device_plugin,
        spot=pool.spot,
        static_cpu_manager=pool.cpu_manager_policy == "static",
        mig=pool.mig is not None,
        opts=opts,
    )
    tuning = NodeTuning(
        names.NODE_TUNING, NodeTuningArgs(tuning=settings.node_tuning, image=settings.images.node_tuning, spot=pool.spot), opts
    )
    return [plugin, tuning]


def _weights_args(parts: _Parts) -> WeightsArgs:
    azure = parts.azure
    return WeightsArgs(
        account=azure.weights_account,
        container=azure.weights_container,
        resource_group=azure.weights_resource_group,
        client_id=azure.shard_client_id,
    )


def _weights_fetch(parts: _Parts, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Nothing without a source."""
    azure = parts.azure
    if azure.fetch_client_id is None:
        return []
    args = WeightsFetchArgs(
        image=parts.settings.images.weights,
        model=parts.settings.model,
        plan=parts.plan.weights,
        storage=_storage_address(azure),
        retention=parts.settings.rollout.weights_retention,
        client_id=azure.fetch_client_id,
    )
    return [WeightsFetch(names.WEIGHTS_FETCH, args, opts)]


def _storage_address(azure: AzureInputs) -> pulumi.Output[str]:
    return pulumi.Output.concat("https://", azure.weights_account, ".blob.core.windows.net/", azure.weights_container)


def _weights_copy(parts: _Parts, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Nothing where pods read the storage."""
    settings, azure = parts.settings, parts.azure
    if azure.copy_client_id is None:
        return []
    args = WeightsCopyArgs(
        image=settings.images.weights,
        node_image=settings.images.node_tuning,
        plan=parts.plan.weights,
        size=str(settings.caching.l2_cache.size),
        storage=_storage_address(azure),
        client_id=azure.copy_client_id,
        retention=settings.rollout.weights_retention,
        spot=settings.gpu_pool.spot,
    )
    return [WeightsCopy(names.WEIGHTS_COPY, args, opts)]


def _shards_args(parts: _Parts) -> ShardsArgs:
    settings = parts.settings
    return ShardsArgs(
        server=parts.workload.shard,
        worker=parts.workload.worker,
        stages=len(parts.plan.shards),
        pipelines=None if settings.autoscaling.enabled else parts.plan.pipelines,
        node_selector={
            **parts.plan.pod.node_selector,
            **names.GPU_NODE_LABEL,
            **names.huge_pages_node_label(settings.node_tuning.huge_pages_2mi),
        },
        spread=settings.shard.topology_spread_constraints,
        pipeline_zones=_pipeline_zones(settings, parts.plan),
        spot=settings.gpu_pool.spot,
        rollout=settings.rollout,
        client_id=parts.azure.shard_client_id,
        leaders_port=parts.workload.leaders_port,
        node_weights_claim=names.node_weights_claim(parts.plan.weights.folder),
        profiling=profiling_file(settings.profiling),
    )


def _pipeline_zones(settings: StackSettings, plan: Plan) -> tuple[str, ...]:
    """Returns the zones as AKS labels its nodes, `REGION-ZONE`.

    Source: MicrosoftDocs/azure-aks-docs articles/aks/reliability-availability-zones-configure.md.

    All zones that may be used, not those of today's pools: a pipeline more would otherwise change the pods of the others.
    """
    if not plan.pipeline_in_one_zone:
        return ()
    return tuple(f"{settings.azure.location}-{zone}" for zone in sorted(settings.gpu_pool.zones))


def _coordinator_args(parts: _Parts) -> CoordinatorArgs:
    settings = parts.settings
    return CoordinatorArgs(
        server=parts.workload.coordinator,
        serving_ports=parts.workload.serving_ports,
        coordinator=settings.coordinator,
        exposure=settings.exposure,
        address_space=settings.azure.network.address_space,
        rollout=settings.rollout,
        client_id=parts.azure.coordinator_client_id,
        system_nodes=settings.cluster.system_pool.min_nodes,
    )


def _operations(
    parts: _Parts,
    namespaces: Namespaces,
    policies: NetworkPolicies,
    priorities: Sequence[pulumi.Resource],
    shards: Shards,
) -> None:
    """What watches, tries and scales the service."""
    settings, images = parts.settings, parts.settings.images
    load_test = LoadTestArgs(
        image=images.load_test,
        load_test=settings.load_test,
        targets=settings.targets,
        port=parts.workload.serving_ports[0],
        path=parts.workload.inference_path,
        exposure=settings.exposure,
    )
    LoadTest(names.LOAD_TEST, load_test, parts.after(namespaces, policies, *priorities))
    if settings.monitoring.enabled:
        gpu_intervals = [metric.interval.seconds for metric in settings.monitoring.metrics if metric.name.startswith("gpu_")]
        gpu_metrics = GpuMetricsArgs(image=images.gpu_metrics, spot=settings.gpu_pool.spot, interval_seconds=min(gpu_intervals, default=30))
        GpuMetrics(names.GPU_METRICS, gpu_metrics, parts.after(namespaces, policies))
        prometheus = PrometheusArgs(plan=parts.plan, workload=parts.workload)
        Prometheus(names.PROMETHEUS, prometheus, parts.after(namespaces, policies))
        if settings.monitoring.managed_prometheus:
            managed_scrape_jobs(settings.monitoring, parts.workload, parts.after())
        if settings.monitoring.receivers:
            alertmanager = AlertmanagerArgs(image=images.alertmanager, monitoring=settings.monitoring)
            Alertmanager(names.ALERTMANAGER, alertmanager, parts.after(namespaces, policies))
    if parts.plan.scaling:
        # KEDA refuses a scaler whose target does not exist.
        autoscaler(settings.autoscaling, parts.plan.scaling, parts.workload.load_query, parts.after(shards))
