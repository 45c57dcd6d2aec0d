"""From a `Server` to the parts of a pod, as the camelCase mappings of the Kubernetes API.

Plain functions of plain values: the same parts go into a Deployment, a LeaderWorkerSet (whose type the SDK does not know) and a
server-side dry run. Everything but `on_the_node` passes the restricted Pod Security level.
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from engines.workload import Env, Probe, Server
from infra.kubernetes import names
from settings.account import Effect, Resource

Manifest = dict[str, Any]


def manifest(part: Manifest) -> Any:
    """Returns part of an object as it is: keys as the API spells them, where the SDK's types spell them in snake case.

    The SDK accepts both. Field names are checked by the API server of a rehearsal.
    """
    return part


def content_hash(*contents: str) -> str:
    """Eight hexadecimal digits that change when any content does."""
    return hashlib.sha256("\0".join(contents).encode()).hexdigest()[:8]


def on_the_node(script: str) -> list[str]:
    """Command that runs a script of a privileged container in the node's own namespaces: its files, its systemctl and kubectl, its
    network. Handed over as an argument, because the node cannot see the container's files, and on standard input the script's own
    commands could eat it."""
    return ["/bin/sh", "-c", f'exec nsenter --target 1 --mount --uts --ipc --net -- /bin/sh -c "$(cat {script})"']


def restricted_pod_security(user: int) -> Manifest:
    """Pod-level security context; `fsGroup` lets the user write to the disks mounted for it."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        # A model cache holds many files: without this the kubelet would chown all of them at every start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container_security() -> Manifest:
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def gpu_tolerations(spot: bool) -> list[Manifest]:
    """Tolerations of the GPU pools' taints."""
    tolerations: list[Manifest] = [{"key": names.GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}]
    if spot:
        tolerations.append({"key": names.SPOT_TAINT, "operator": "Equal", "value": "spot", "effect": "NoSchedule"})
    return tolerations


def environment(variables: tuple[Env, ...]) -> list[Manifest]:
    return [{"name": variable.name, **_source(variable)} for variable in variables]


def _source(variable: Env) -> Manifest:
    if variable.secret_key is not None:
        return {"valueFrom": {"secretKeyRef": {"name": variable.secret_key.secret, "key": variable.secret_key.key}}}
    if variable.field_path is not None:
        return {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": variable.field_path}}}
    return {"value": variable.value}


def probe(check: Probe) -> Manifest:
    how: Manifest = {"tcpSocket": {"port": check.port}}
    if check.command:
        how = {"exec": {"command": list(check.command)}}
    elif check.path:
        how = {"httpGet": {"path": check.path, "port": check.port, "scheme": "HTTP"}}
    return how | {
        "periodSeconds": check.period_seconds,
        "timeoutSeconds": check.timeout_seconds,
        "failureThreshold": check.failure_threshold,
    }


def _volumes_and_mounts(server: Server, config_map: str) -> list[tuple[Manifest, Manifest]]:
    """Each volume of a server beside its mount, the weights and a persistent cache excepted: those are claims of the shards."""
    pairs: list[tuple[Manifest, Manifest]] = [({"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}}, {"name": "tmp", "mountPath": "/tmp"})]
    if server.config_files:
        volume = {"name": "config", "configMap": {"name": config_map}}
        pairs.insert(0, (volume, {"name": "config", "mountPath": server.config_dir, "readOnly": True}))
    for name, mounted in server.secrets.items():
        items = [{"key": key, "path": key} for key in mounted.keys]
        # Readable by the pod's group, which is the server's, and by nobody else.
        volume = {"name": name, "secret": {"secretName": mounted.secret, "items": items, "defaultMode": 0o440}}
        pairs.append((volume, {"name": name, "mountPath": mounted.folder, "readOnly": True}))
    if server.profiling_dir:
        volume = {"name": "profiling", "configMap": {"name": names.PROFILING_CONFIG}}
        pairs.append((volume, {"name": "profiling", "mountPath": server.profiling_dir, "readOnly": True}))
    if server.huge_pages_dir:
        pairs.append(
            ({"name": "huge-pages", "emptyDir": {"medium": "HugePages-2Mi"}}, {"name": "huge-pages", "mountPath": server.huge_pages_dir})
        )
    if server.shared_memory:
        volume = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": server.shared_memory}}
        pairs.append((volume, {"name": "shared-memory", "mountPath": "/dev/shm"}))
    return pairs


def volumes(server: Server, config_map: str) -> list[Manifest]:
    return [volume for volume, _ in _volumes_and_mounts(server, config_map)]


def container(name: str, server: Server, config_map: str, extra_mounts: tuple[Manifest, ...] = ()) -> Manifest:
    """The one container of a server's pod."""
    made: Manifest = {
        "name": name,
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "env": environment(server.env),
        "ports": [{"name": port.name, "containerPort": port.number, "protocol": "TCP"} for port in server.ports],
        "startupProbe": probe(server.startup),
        "livenessProbe": probe(server.liveness),
        "readinessProbe": probe(server.readiness),
        "resources": {"requests": dict(server.requests), "limits": dict(server.limits)},
        "securityContext": restricted_container_security(),
        "volumeMounts": [mount for _, mount in _volumes_and_mounts(server, config_map)] + list(extra_mounts),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if server.command:
        made["command"] = list(server.command)
    if server.args:
        made["args"] = list(server.args)
    if server.pre_stop_seconds:
        made["lifecycle"] = {"preStop": {"sleep": {"seconds": server.pre_stop_seconds}}}
    return made


def spot_effects(resource: Resource, pod: str = "spec.template.spec") -> Iterator[Effect]:
    """What `gpuPool.spot` does to pods of GPU nodes."""
    yield resource.effect("gpuPool.spot", f"{pod}.tolerations")
