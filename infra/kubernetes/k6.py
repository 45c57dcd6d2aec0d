"""The guide's load test as a Job template: a CronJob that never runs by itself.

    kubectl create job --from=cronjob/load-test load-test-1 -n zig-ai

The guide starts it with `kubectl run`, whose pod the restricted namespace refuses. `loadimpact/k6` is `grafana/k6` now.
Where the service asks for an API key, the test has one of its own, under its own name in the same Secret; where it asks for a client's
certificate, that of the Secret with the authority. Not here: the way to the coordinator (`network_policies.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Port
from infra.kubernetes import names, pods
from settings.account import Effect, Resource, path_text
from settings.operations import LoadTest as LoadTestSettings
from settings.operations import Targets
from settings.platform import Exposure
from settings.quantities import Duration

SCRIPT = Path(__file__).with_suffix(".js")
_SCRIPT_DIR = "/scripts"
_CLIENT_DIR = "/client"
_K6_UID = 12345
"""User `k6` of the image. https://github.com/grafana/k6/blob/master/Dockerfile"""


@dataclass(frozen=True, kw_only=True)
class LoadTestArgs:
    image: str
    load_test: LoadTestSettings
    targets: Targets
    port: Port
    path: str
    """Where the coordinator's Service takes requests."""
    exposure: Exposure


def config(args: LoadTestArgs) -> str:
    """`config.json`. Thresholds end a run that misses them with an error; checks, as in the guide, only count.

    No threshold on throughput: each user sleeps a second after each answer, so 100 users cannot reach 100 requests/s however fast
    the service is.
    """
    latency_ms = round(args.targets.latency.seconds * 1000)
    return json.dumps(
        {
            "endpoint": f"{args.port.name}://{names.COORDINATOR_SERVICE}:{args.port.service_number}{args.path}",
            # The certificate is for the name that clients use, which is not the one inside the cluster.
            "insecureSkipTlsVerify": args.exposure.tls is not None,
            "tlsAuthDir": _CLIENT_DIR if _client_secret(args.exposure) else None,
            "concurrentUsers": args.load_test.concurrent_users,
            "rampUp": _k6_duration(args.load_test.ramp_up),
            "duration": _k6_duration(args.load_test.duration),
            "rampDown": _k6_duration(args.load_test.ramp_down),
            "request": {
                "prompt": args.load_test.prompt,
                "max_tokens": args.load_test.max_tokens,
                "temperature": args.load_test.temperature,
            },
            "latencyMs": latency_ms,
            "thresholds": {"http_req_duration": [f"p(95)<{latency_ms}"], "http_req_failed": ["rate<0.05"]},
        },
        indent=2,
    )


def _client_secret(exposure: Exposure) -> str | None:
    return exposure.tls.client_ca_secret_name if exposure.tls else None


def _k6_duration(duration: Duration) -> str:
    """In seconds: k6 does not know days."""
    return f"{duration.seconds:g}s"


class LoadTest(pulumi.ComponentResource):
    """Script, its config, and the suspended CronJob."""

    def __init__(self, name: str, args: LoadTestArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:LoadTest", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.LOAD_TEST, "load-test")
        k8s.core.v1.ConfigMap(
            f"{name}-script",
            metadata={"name": names.LOAD_TEST, "namespace": names.SERVICE_NAMESPACE, "labels": labels},
            data={"load-test.js": SCRIPT.read_text(), "config.json": config(args)},
            opts=child,
        )
        k8s.batch.v1.CronJob(
            name,
            metadata={"name": names.LOAD_TEST, "namespace": names.SERVICE_NAMESPACE, "labels": labels},
            spec=pods.manifest(
                {
                    "suspend": True,
                    # A CronJob must have one; 31 February is for whoever lifts the suspension by mistake.
                    "schedule": "0 0 31 2 *",
                    "concurrencyPolicy": "Forbid",
                    "jobTemplate": {"spec": _job_spec(args, labels)},
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def _job_spec(args: LoadTestArgs, labels: dict[str, str]) -> Any:
    volumes: list[tuple[pods.Manifest, pods.Manifest]] = [
        ({"name": "script", "configMap": {"name": names.LOAD_TEST}}, {"name": "script", "mountPath": _SCRIPT_DIR, "readOnly": True}),
        ({"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "tmp", "mountPath": "/tmp"}),
    ]
    if secret := _client_secret(args.exposure):
        items = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
        volume = {"name": "client", "secret": {"secretName": secret, "items": items, "defaultMode": 0o440}}
        volumes.append((volume, {"name": "client", "mountPath": _CLIENT_DIR, "readOnly": True}))
    return {
        # A second try would load the service twice and hide that the first one failed.
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 86_400,
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "priorityClassName": names.BATCH_PRIORITY,
                "securityContext": pods.restricted_pod_security(_K6_UID),
                "containers": [
                    {
                        "name": "k6",
                        "image": args.image,
                        "args": ["run", f"{_SCRIPT_DIR}/load-test.js"],
                        # It would report to its maker, whom the network policies do not let it reach.
                        "env": [{"name": "K6_NO_USAGE_REPORT", "value": "true"}, *_key(args.exposure)],
                        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
                        "securityContext": pods.restricted_container_security(),
                        "volumeMounts": [mount for _, mount in volumes],
                    }
                ],
                "volumes": [volume for volume, _ in volumes],
            },
        },
    }


def _key(exposure: Exposure) -> list[pods.Manifest]:
    if exposure.api_keys is None:
        return []
    return [{"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": exposure.api_keys.secret_name, "key": names.LOAD_TEST}}}]


def effects() -> Iterator[Effect]:
    """The settings that the load test answers."""
    test = Resource("ConfigMap", f"{names.SERVICE_NAMESPACE}/{names.LOAD_TEST}")
    file = path_text("data", "config.json")
    for name in ("concurrentUsers", "duration", "rampUp", "rampDown"):
        yield test.effect(f"loadTest.{name}", f"{file}.{name}")
    for name, field in (("prompt", "prompt"), ("maxTokens", "max_tokens"), ("temperature", "temperature")):
        yield test.effect(f"loadTest.{name}", f"{file}.request.{field}")
    yield test.effect("targets.latency", f"{file}.thresholds.http_req_duration[0]")
    yield test.effect("targets.latency", f"{file}.latencyMs")
    yield test.effect("exposure.tls.secretName", f"{file}.endpoint")
    yield test.effect("exposure.tls.secretName", f"{file}.insecureSkipTlsVerify")
    yield test.effect("exposure.tls.clientCaSecretName", f"{file}.tlsAuthDir")
    template = Resource("CronJob", f"{names.SERVICE_NAMESPACE}/{names.LOAD_TEST}")
    pod = "spec.jobTemplate.spec.template.spec"
    yield template.effect("images.loadTest", f"{pod}.containers[0].image")
    for part in ("name", "key"):
        yield template.effect("exposure.apiKeys.secretName", f"{pod}.containers[0].env[API_KEY].valueFrom.secretKeyRef.{part}")
    yield template.effect("exposure.tls.clientCaSecretName", f"{pod}.volumes[client].secret.secretName")
    yield template.effect("exposure.tls.clientCaSecretName", f"{pod}.containers[0].volumeMounts[client].mountPath")
