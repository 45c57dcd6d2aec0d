"""How the parts are joined: settings, plan, engine, Azure, Kubernetes, outputs. Stacks differ only in their YAML."""

from __future__ import annotations

import datetime

import pulumi
import pulumi_kubernetes

from engines import ENGINES
from engines.workload import Endpoints
from infra.azure import platform as azure_platform
from infra.kubernetes import platform as kubernetes_platform
from planner import plan as make_plan
from planner.plan import Plan
from settings import SettingsError, StackSettings
from stacks import config, preflight


def main() -> None:
    """Check everything, then register; a problem ends the run with one listing and nothing registered."""
    try:
        settings = config.from_program()
        plan = make_plan(settings)
        if problems := preflight.live_problems(settings, plan):
            raise SettingsError(problems)
    except SettingsError as error:
        config.stop(error)
    deploy(settings, plan, pulumi.get_stack())


def deploy(settings: StackSettings, plan: Plan, stack: str, *, today: datetime.date | None = None) -> None:
    """Register the whole stack; `today` only starts a new budget."""
    for finding in plan.findings:
        pulumi.log.warn(f"{finding.code} {finding.key}: {finding.asked}; {finding.because} ({finding.source})")

    azure = azure_platform.deploy(settings, plan, stack, today=today)
    provider = pulumi_kubernetes.Provider(
        "aks",
        kubeconfig=azure.kubeconfig,
        # Without it the provider takes another address of the same cluster for another cluster, and replaces everything in it.
        cluster_identifier=azure.cluster_id,
        enable_server_side_apply=True,
    )
    workload = ENGINES[settings.engine].render(settings, plan, endpoints(settings, plan, registry=azure.registry, redis=azure.redis_host))
    kubernetes = kubernetes_platform.deploy(settings, plan, workload, azure.for_kubernetes, provider)
    _export(plan, azure, kubernetes)


def endpoints(settings: StackSettings, plan: Plan, *, registry: str, redis: str | None) -> Endpoints:
    """What the rendered configuration points at."""
    return Endpoints(
        namespace=kubernetes_platform.SERVICE_NAMESPACE,
        registry=registry,
        shard_dns=kubernetes_platform.shard_names(settings, plan),
        redis_host=redis,
    )


def _export(plan: Plan, azure: azure_platform.AzurePlatform, kubernetes: kubernetes_platform.KubernetesPlatform) -> None:
    pulumi.export("clusterName", azure.cluster_name)
    pulumi.export("resourceGroup", azure.resource_group)
    pulumi.export("registry", azure.registry)
    pulumi.export("endpoint", kubernetes.endpoint)
    pulumi.export("kubeconfig", azure.kubeconfig)
    pulumi.export("gpuNodes", plan.gpu_pool.nodes)
    if plan.gpu_pool.size.usd_per_hour is not None:
        pulumi.export("gpuUsdPerHour", round(plan.gpu_pool.nodes * plan.gpu_pool.size.usd_per_hour, 3))
