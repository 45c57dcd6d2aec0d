"""The Job that fetches the model's weights into the stack's storage: once for each source.

Its name carries the source's hash: another source is another Job, and an unchanged one is never run again. Shards come after it, so that
none is ever told of a folder that is not complete. A fetch that failed is made anew by the next `pulumi up`.

Not here: what it does (`weights_transfer/`), when the weights of earlier sources go (`weights_retention.py`), the storage and the right to
write there (`infra/azure/`), the way out (`network_policies.py`), and the Secret that `model.tokenSecret` names, which is whoever's who
wants the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods, service_accounts
from infra.kubernetes.weights.retention import weights_retention
from planner.fit.plan import WeightsPlan
from settings.account import Effect, Resource
from settings.model import Model
from settings.quantities import Duration

PROGRAM = Path(__file__).parent / "transfer"
PROGRAM_DIR = "/opt/weights-transfer"
USER = 10001
"""Number of the user that the program runs as, here and on the nodes."""
_RETRIES = 3
"""After a node was drained or a pod evicted. What fails by itself has been tried often enough."""


@dataclass(frozen=True, kw_only=True)
class WeightsFetchArgs:
    image: str
    model: Model
    """With a `source`."""
    plan: WeightsPlan
    storage: pulumi.Input[str]
    """Address of the weight storage's container."""
    retention: Duration | None
    """How long the weights of earlier sources are kept; None means for ever."""
    client_id: pulumi.Input[str]
    """The identity that writes: `Storage Blob Data Contributor` on the container, federated with this Job's service account."""


def program_files() -> dict[str, str]:
    """What a ConfigMap of the program holds."""
    return {file.name: file.read_text() for file in sorted(PROGRAM.glob("*.py"))}


def job_name(model: Model) -> str:
    assert model.weight_source
    return f"{names.WEIGHTS_FETCH}-{model.weight_source.hash}"


class WeightsFetch(pulumi.ComponentResource):
    """Service account, program and Job."""

    def __init__(self, name: str, args: WeightsFetchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:WeightsFetch", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.WEIGHTS_FETCH, "weights")
        metadata: Any = {"name": names.WEIGHTS_FETCH, "namespace": names.SERVICE_NAMESPACE, "labels": labels}
        account = service_accounts.of_identity(name, metadata, args.client_id, child)
        program = k8s.core.v1.ConfigMap(f"{name}-program", metadata=metadata, data=program_files(), opts=child)
        timeout = f"{math.ceil(args.plan.fetch_wait_s / 60)}m"
        job = k8s.batch.v1.Job(
            name,
            # A failed Job would otherwise be waited for again, and never run again.
            metadata=metadata | {"name": job_name(args.model), "annotations": {"pulumi.com/replaceUnready": "true"}},
            spec=_job_spec(args, labels, "fetch", _told_to_fetch(args)),
            opts=pulumi.ResourceOptions(
                parent=self,
                # The pod names both as text, which is no dependency that the engine could see.
                depends_on=[account, program],
                custom_timeouts=pulumi.CustomTimeouts(create=timeout, update=timeout),
            ),
        )
        if args.retention:
            told = _environment(args, RETENTION_SECONDS=str(round(args.retention.seconds)))
            # Nothing goes for the sake of weights that never came.
            after = pulumi.ResourceOptions(parent=self, depends_on=[job])
            weights_retention(_job_spec(args, labels, "forget", told), after)
        self.register_outputs({})


def _environment(args: WeightsFetchArgs, **more: str | None) -> list[pods.Manifest]:
    literals = {"STORAGE": args.storage, "FOLDER": args.plan.folder} | more
    return [{"name": name, "value": value} for name, value in literals.items() if value is not None]


def _told_to_fetch(args: WeightsFetchArgs) -> list[pods.Manifest]:
    formats = "safetensors" if args.plan.safetensors_only else None
    environment = _environment(args, SOURCE=args.model.source, FILE_NAME=args.plan.file, ONLY_FORMAT=formats)
    if secret := args.model.token_secret:
        environment.append({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
    return environment


def _job_spec(args: WeightsFetchArgs, labels: dict[str, str], what: str, environment: list[pods.Manifest]) -> Any:
    """The spec of a Job that runs the program; `what` is the task that the program gets."""
    return {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"containerName": "fetch", "operator": "In", "values": [1]}},
            ]
        },
        "template": {
            "metadata": {"labels": labels | {"azure.workload.identity/use": "true"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": names.WEIGHTS_FETCH,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "priorityClassName": names.BATCH_PRIORITY,
                "securityContext": pods.restricted_pod_security(USER),
                "containers": [
                    {
                        "name": "fetch",
                        "image": args.image,
                        "command": ["python", PROGRAM_DIR, what],
                        "env": environment,
                        # Eight blocks of 32 MiB on their way, and as many being read back.
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                        "securityContext": pods.restricted_container_security(),
                        "volumeMounts": [{"name": "program", "mountPath": PROGRAM_DIR, "readOnly": True}],
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                    }
                ],
                "volumes": [{"name": "program", "configMap": {"name": names.WEIGHTS_FETCH}}],
            },
        },
    }


def switch() -> Iterator[Effect]:
    """What `model.source` brings: the component, its identity, and the right to write the storage."""
    for resource in (names.WEIGHTS_FETCH, "fetch-access", "weights-fetch"):
        yield Resource("Pulumi resource", resource).effect("model.source")


def effects() -> Iterator[Effect]:
    """The settings that the Job and the daily deletion answer, where there is a source."""
    fetch = Resource("Job", f"{names.SERVICE_NAMESPACE}/{names.WEIGHTS_FETCH}-*")
    container = "spec.template.spec.containers[0]"
    yield fetch.effect("model.source", f"{container}.env[SOURCE].value")
    yield fetch.effect("model.tokenSecret.name", f"{container}.env[TOKEN].valueFrom.secretKeyRef.name")
    yield fetch.effect("model.tokenSecret.key", f"{container}.env[TOKEN].valueFrom.secretKeyRef.key")
    forget = Resource("CronJob", f"{names.SERVICE_NAMESPACE}/{names.WEIGHTS_RETENTION}")
    yield forget.effect("rollout.weightsRetention")
    yield forget.effect("rollout.weightsRetention", f"spec.jobTemplate.{container}.env[RETENTION_SECONDS].value")
    for job, path in ((fetch, container), (forget, f"spec.jobTemplate.{container}")):
        yield job.effect("images.weights", f"{path}.image")
        for key in ("model.name", "model.source"):
            yield job.effect(key, f"{path}.env[FOLDER].value")
