"""Everything that a stack registers, in Azure and in Kubernetes. The one way for `pulumi up` and for whoever only wants to see it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi_kubernetes

from engines import ENGINES
from engines.workload import Workload
from infra.azure import platform as azure_platform
from infra.azure.dated_types import leave_out_aliases_of_dated_types
from infra.azure.platform import AzurePlatform
from infra.endpoints import endpoints
from infra.kubernetes import platform as kubernetes_platform
from infra.kubernetes.platform import KubernetesPlatform
from planner.fit.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a stack registered, for its outputs and its account of the settings."""

    azure: AzurePlatform
    kubernetes: KubernetesPlatform
    workload: Workload


def deploy(plan: Plan, stack: str, *, today: datetime.date | None = None, node_counts: Mapping[str, int] | None = None) -> Deployment:
    """Registers the whole stack as it is planned; `today` only decides the month in which a new budget starts.

    `node_counts` has the nodes of each pool that runs, by the pool's name: they stay as many.
    """
    settings = plan.settings
    leave_out_aliases_of_dated_types()
    azure = azure_platform.deploy(settings, plan, stack, today=today, node_counts=node_counts)
    provider = pulumi_kubernetes.Provider(
        "aks",
        kubeconfig=azure.kubeconfig,
        # Without it the provider takes another address of the same cluster for another cluster, and replaces everything in it.
        cluster_identifier=azure.cluster_id,
        enable_server_side_apply=True,
    )
    workload = ENGINES[settings.engine].render(settings, plan, endpoints(plan, registry=azure.registry, redis=azure.redis_host))
    kubernetes = kubernetes_platform.deploy(settings, plan, workload, azure.for_kubernetes, provider)
    return Deployment(azure=azure, kubernetes=kubernetes, workload=workload)
