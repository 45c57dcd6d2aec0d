"""More pipelines when there are more requests than those there answer in time: KEDA on the LeaderWorkerSet's scale subresource.

KEDA is an AKS add-on (`infra/azure/`). Not here: nodes, which the GPU pool's own autoscaler adds and removes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names
from planner.fit.plan import Scaling
from settings.account import Effect, Resource
from settings.platform import Autoscaling


def autoscaler(
    autoscaling: Autoscaling, scaling: Scaling, load_query: str, opts: pulumi.ResourceOptions
) -> k8s.apiextensions.CustomResource:
    """A ScaledObject. `load_query`: PromQL of all requests in flight.

    https://keda.sh/docs/latest/reference/scaledobject-spec/ and /scalers/prometheus/.
    """
    return k8s.apiextensions.CustomResource(
        "zig-ai-shard-autoscaler",
        api_version="keda.sh/v1alpha1",
        kind="ScaledObject",
        metadata={"name": names.SHARD, "namespace": names.SERVICE_NAMESPACE, "labels": names.labels(names.SHARD, "autoscaler")},
        spec={
            "scaleTargetRef": {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": names.SHARD},
            "pollingInterval": math.ceil(autoscaling.poll_interval.seconds),
            "minReplicaCount": autoscaling.min_pipelines,
            "maxReplicaCount": autoscaling.max_pipelines,
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {
                        "scaleDown": {
                            # KEDA's own cooldownPeriod counts only from one to none. This is what waits between other counts.
                            "stabilizationWindowSeconds": min(3600, math.ceil(autoscaling.cooldown.seconds)),
                            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                        }
                    }
                }
            },
            **_fallback(scaling.fallback_pipelines),
            "triggers": [
                {
                    "type": "prometheus",
                    # Divided by the pipelines there are.
                    "metricType": "AverageValue",
                    "metadata": {
                        "serverAddress": f"http://{names.PROMETHEUS}.{names.MONITORING_NAMESPACE}.svc.cluster.local:9090",
                        "query": load_query,
                        "threshold": str(scaling.requests_per_pipeline),
                        "ignoreNullValues": "false",
                    },
                }
            ],
        },
        opts=opts,
    )


def _fallback(pipelines: int | None) -> dict[str, Any]:
    """While Prometheus cannot be asked, a loaded service keeps the pipelines that it has; without a fallback no count is changed."""
    if pipelines is None:
        return {}
    return {"fallback": {"failureThreshold": 3, "replicas": pipelines, "behavior": "currentReplicasIfHigher"}}


def effects() -> Iterator[Effect]:
    """The settings that the autoscaler answers, while there is one."""
    scaler = Resource("ScaledObject", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
    yield scaler.effect("autoscaling.minPipelines", "spec.minReplicaCount")
    yield scaler.effect("autoscaling.maxPipelines", "spec.maxReplicaCount")
    yield scaler.effect("autoscaling.requestsPerPipeline", "spec.triggers[0].metadata.threshold")
    yield scaler.effect("autoscaling.pollInterval", "spec.pollingInterval")
    down = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown"
    yield scaler.effect("autoscaling.cooldown", f"{down}.stabilizationWindowSeconds")
    # How many run at least while the autoscaler cannot ask.
    yield scaler.effect("sharding.pipelines", "spec.fallback.replicas")


def switch() -> Iterator[Effect]:
    """What `autoscaling.enabled` brings and takes away here."""
    yield Resource("ScaledObject", f"{names.SERVICE_NAMESPACE}/{names.SHARD}").effect("autoscaling.enabled")
