"""Prepares the folder in which the engine runs the program: links to the repository, and writable stack files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from rehearsal.azure.subscription import Subscription
from rehearsal.cluster.control_plane import share
from rehearsal.layout import MARK, REPOSITORY, Layout

PASSPHRASE = "rehearsal"
_NOT_LINKED = {".git", ".rehearsal", "__pycache__"}


class ProjectError(Exception):
    """The repository cannot be rehearsed; the message says why."""


def prepare(layout: Layout, repository: Path, stack: str) -> None:
    """Links the repository into `layout.project`, and copies and adapts the files that Pulumi writes to. Raises ProjectError."""
    source = repository / f"Pulumi.{stack}.yaml"
    if not source.exists():
        stacks = sorted(path.name.split(".")[1] for path in repository.glob("Pulumi.*.yaml"))
        raise ProjectError(f"there is no stack '{stack}' ({source.name}); the stacks are: {', '.join(stacks) or 'none'}")
    for folder in (layout.project, layout.backend, layout.logs, layout.home, layout.temporary):
        folder.mkdir(parents=True, exist_ok=True)
    for entry in repository.iterdir():
        if entry.name not in _NOT_LINKED and not (entry.name.startswith("Pulumi.") and entry.suffix == ".yaml"):
            (layout.project / entry.name).symlink_to(entry)
    shutil.copy(repository / "Pulumi.yaml", layout.project / "Pulumi.yaml")
    project = yaml.safe_load((repository / "Pulumi.yaml").read_text())["name"]
    settings = rehearsed(yaml.safe_load(source.read_text()) or {}, project, chart=str(share() / "lws" / "charts" / "lws"))
    (layout.project / source.name).write_text(yaml.safe_dump(settings, sort_keys=False))


def rehearsed(settings: dict[str, Any], project: str, *, chart: str) -> dict[str, Any]:
    """Returns the stack file for a rehearsal: the same settings, with a chart from disk and without encrypted values.

    Only the stack's secrets provider could decrypt `secure:` values, so each is replaced by a placeholder.
    """
    config = {key: _without_secrets(value) for key, value in (settings.get("config") or {}).items()}
    cluster = config.get(f"{project}:cluster")
    config[f"{project}:cluster"] = {**(cluster if isinstance(cluster, dict) else {}), "leaderWorkerSetChart": chart}
    kept = {key: value for key, value in settings.items() if key not in ("secretsprovider", "encryptedkey", "encryptionsalt")}
    return {**kept, "config": config}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return "rehearsed-secret"
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def environment(layout: Layout, subscription: Subscription, *, arm_endpoint: str, faults: str) -> dict[str, str]:
    """Returns the environment variables that the engine, the program and the plugins get in addition to this process's."""
    binaries = Path(sys.executable).parent  # not resolved: a virtual environment's python is a link
    return {
        "PATH": os.pathsep.join([str(REPOSITORY / "rehearsal" / "bin"), str(binaries), os.environ.get("PATH", "")]),
        "VIRTUAL_ENV": str(binaries.parent),
        "PULUMI_BACKEND_URL": f"file://{layout.backend}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_HOME": str(layout.home),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        # By default Pulumi writes its whole state before and after each resource, in case a run is interrupted. An interrupted rehearsal
        # starts from nothing, so the state at the end of an operation is enough, which saves 20 s of CPU.
        "PULUMI_SKIP_CHECKPOINTS": "true",
        "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "KUBECONFIG": str(layout.kubeconfig),  # never the user's own cluster
        # The Kubernetes provider writes the kubeconfig to a file there at each start and leaves it (provider/pkg/provider/util.go).
        "TMPDIR": str(layout.temporary),
        "ARM_ENDPOINT": arm_endpoint,
        "ARM_SUBSCRIPTION_ID": subscription.subscription_id,
        "ARM_TENANT_ID": subscription.tenant_id,
        MARK: str(layout.root),
        "REHEARSAL_SUBSCRIPTION": subscription.name,
        "REHEARSAL_FAULTS": faults,
        "REHEARSAL_PYTHON": sys.executable,
        "REHEARSAL_SCHEMA_CACHE": os.environ.get("REHEARSAL_SCHEMA_CACHE", str(layout.types)),
        # The provider sends at most 50 requests per second by default; this API server is local, and 130 resources need 600 requests.
        "PULUMI_K8S_CLIENT_QPS": "500",
        "PULUMI_K8S_CLIENT_BURST": "1000",
        "GOGC": "400",  # more memory, but a fourth less work for Go programs that live a minute
        "GRPC_VERBOSITY": "NONE",  # silences gRPC's messages when a plugin ends
    }
