"""What deletes the weights of earlier sources from the storage, once a day, when `rollout.weightsRetention` is over.

It knows nothing of pods: those of an earlier version have been replaced within that time, or can be mended within it. What it deletes is
in the account's soft delete for a while (infra/azure/weights.py).

Not here: by what rule (`weights_transfer/`), and the nodes' copies, which their agent deletes by the same one (`weights_copy.py`).
docs/adr/0011-earlier-weights-go-by-age.md
"""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods


def weights_retention(job_spec: Any, opts: pulumi.ResourceOptions) -> k8s.batch.v1.CronJob:
    """`job_spec`: of the fetch, told to forget."""
    return k8s.batch.v1.CronJob(
        names.WEIGHTS_RETENTION,
        metadata={
            "name": names.WEIGHTS_RETENTION,
            "namespace": names.SERVICE_NAMESPACE,
            "labels": names.labels(names.WEIGHTS_RETENTION, "weights"),
        },
        spec=pods.manifest(
            {
                "schedule": "17 3 * * *",
                # Without one, a cluster that was stopped for 100 days would never run it again.
                # https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#job-creation
                "startingDeadlineSeconds": 3600,
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {"spec": job_spec},
            }
        ),
        opts=opts,
    )
