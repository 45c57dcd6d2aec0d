"""What the servers' configuration points at: DNS names and hosts, all known before anything is created. No Pulumi."""

from __future__ import annotations

from engines.workload import Endpoints
from infra.kubernetes import names
from planner.fit.plan import Plan


def endpoints(plan: Plan, *, registry: str, redis: str | None) -> Endpoints:
    """The addresses of one stack."""
    return Endpoints(
        namespace=names.SERVICE_NAMESPACE,
        registry=registry,
        shard_dns=shard_dns_names(most_pipelines(plan), len(plan.shards)),
        leaders_dns=leaders_dns_name(),
        redis_host=redis,
    )


def most_pipelines(plan: Plan) -> int:
    """With an autoscaler, all that there may ever be, since config is written once."""
    autoscaling = plan.settings.autoscaling
    return max(plan.pipelines, autoscaling.max_pipelines) if autoscaling.enabled else plan.pipelines


def shard_dns_names(pipelines: int, stages: int) -> tuple[str, ...]:
    """One DNS name a shard, in pipeline then stage order.

    The controller's headless Service has the set's name and publishes pods that are not ready yet, so that shards find one another
    while they load. Pods of group G are `NAME-G` (shard 0) and `NAME-G-I`.
    """
    domain = f"{names.SHARD}.{names.SERVICE_NAMESPACE}.svc.cluster.local"
    return tuple(
        f"{names.SHARD}-{pipeline}{f'-{stage}' if stage else ''}.{domain}" for pipeline in range(pipelines) for stage in range(stages)
    )


def leaders_dns_name() -> str:
    """The DNS name of the headless Service in `kubernetes/shards.py`, which publishes only pods that are ready and not about to end."""
    return f"{names.LEADERS}.{names.SERVICE_NAMESPACE}.svc.cluster.local"
