"""More pipelines when requests queue, fewer when they do not: KEDA on the LeaderWorkerSet's scale subresource.

KEDA is an AKS add-on (`infra/azure/`). Not here: nodes, which the GPU pool's own autoscaler adds and removes.
"""

from __future__ import annotations

import math

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names
from settings.platform import Autoscaling


def autoscaler(autoscaling: Autoscaling, load_query: str, pipelines: int, opts: pulumi.ResourceOptions) -> k8s.apiextensions.CustomResource:
    """A ScaledObject. `load_query`: PromQL of all requests in the system; `pipelines`: how many to run while it cannot be asked.

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
            # An autoscaler whose metric has vanished must neither scale to the minimum nor keep silent.
            "fallback": {"failureThreshold": 3, "replicas": pipelines},
            "triggers": [
                {
                    "type": "prometheus",
                    # Divided by the pipelines there are.
                    "metricType": "AverageValue",
                    "metadata": {
                        "serverAddress": f"http://{names.PROMETHEUS}.{names.MONITORING_NAMESPACE}.svc.cluster.local:9090",
                        "query": load_query,
                        "threshold": str(autoscaling.waiting_requests_per_pipeline),
                        "ignoreNullValues": "false",
                    },
                }
            ],
        },
        opts=opts,
    )
