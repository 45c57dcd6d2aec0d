"""Where in the cluster an engine's statements are true: an engine names a server by its role and a field of its container.

`args[--threads]`, `env[NAME].value` and `resources.limits.cpu` are in the pod's container as they stand. What an engine has in a container
and Kubernetes has elsewhere is mapped here: `config_files[NAME]` to the ConfigMap, `cache.size` and `cache.persistent` to volumes or
claims, `secrets[VOLUME].secret` to the pod's volumes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from engines.workload import Role, Server, Workload
from infra.kubernetes import names
from settings.account import Effect, Place, below

GROUP = "spec.leaderWorkerTemplate"


def effects(workload: Workload) -> Iterator[Effect]:
    """What the engine states of its servers, at the places where that is in the cluster."""
    for effect in workload.effects:
        yield replace(effect, place=place(effect.place, workload))


def place(there: Place, workload: Workload) -> Place:
    """A place in the cluster for a field of one of the workload's servers; any other place as it is."""
    if there.kind not in ("coordinator", "shard", "worker"):
        return there
    role: Role = there.kind
    server = workload.server(role)
    if file := re.match(r"config_files\[([^]]+)\]", there.path):
        config = f"{names.SERVICE_NAMESPACE}/{_owner(role)}-config-*"
        path = below("data", file[1]) + there.path[file.end() :]
        return Place(kind="ConfigMap", name=config, path=path, file=f"{server.config_dir}/{file[1]}")
    kind = "Deployment" if role == "coordinator" else "LeaderWorkerSet"
    path = _in_object(there.path, server, pod(workload, role))
    return Place(kind=kind, name=f"{names.SERVICE_NAMESPACE}/{_owner(role)}", path=path)


def pod(workload: Workload, role: Role) -> str:
    """Where the pods of a role are described; all shards are made from one template where they are alike."""
    if role == "coordinator":
        return "spec.template.spec"
    template = "leaderTemplate" if role == "shard" and workload.worker else "workerTemplate"
    return f"{GROUP}.{template}.spec"


def _owner(role: Role) -> str:
    return names.COORDINATOR if role == "coordinator" else names.SHARD


def _in_object(path: str, server: Server, pod: str) -> str:
    if path == "cache.persistent":
        # Without it a group that is made anew loses its disks.
        return f"{GROUP}.persistentVolumeClaimRetentionPolicy.whenDeleted"
    if path == "cache.size" and server.cache and server.cache.persistent:
        return f"{GROUP}.volumeClaimTemplates[0].spec.resources.requests.storage"
    if path == "cache.size":
        return f"{pod}.volumes[cache-*].emptyDir.sizeLimit"
    if secret := re.fullmatch(r"secrets\[([^]]+)\]\.secret", path):
        return f"{pod}.volumes[{secret[1]}].secret.secretName"
    return f"{pod}.containers[0].{path}"
