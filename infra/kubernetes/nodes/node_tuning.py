"""Huge pages and the kernel's memory settings on GPU nodes: the guide's `hugepages-config` script, run where it has an effect.

AKS lets a node pool set transparent huge pages and some sysctls, but neither `vm.nr_hugepages` nor `vm.overcommit_*`
(articles/aks/custom-node-configuration-reference.md of MicrosoftDocs/azure-aks-docs), and a script in a ConfigMap that nothing runs
changes nothing. A DaemonSet runs it on every GPU node, again after each reimage, and labels the node only when all of it reads back.

Not here: the shards' node selector for that label (`shards.py`), and the pool's own `linuxOSConfig` (`infra/azure/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods
from planner.catalogue import node_agents
from settings.account import Effect, Resource, not_read, path_text
from settings.operations import NodeTuning as NodeTuningSettings

SCRIPT = Path(__file__).with_suffix(".sh")
_SCRIPT_DIR = "/opt/node-tuning"
_READY_FILE = "/proc/1/root/run/zig-ai/node-tuned"
"""The script's marker, seen through the node's init process: `/run` is empty after a boot."""


@dataclass(frozen=True, kw_only=True)
class NodeTuningArgs:
    tuning: NodeTuningSettings
    image: str
    spot: bool
    """Whether the GPU pools are spot pools, which carry one more taint."""


def script_values(tuning: NodeTuningSettings) -> dict[str, str]:
    """The script's environment. A rehearsal reads `HUGE_PAGES_2MI` and `NODE_LABEL` from the pod, so both are plain literals."""
    [(key, pages)] = names.huge_pages_node_label(tuning.huge_pages_2mi).items()
    return {
        "HUGE_PAGES_2MI": pages,
        "THP": tuning.transparent_huge_pages,
        "OVERCOMMIT_MEMORY": str(tuning.overcommit_memory),
        "OVERCOMMIT_RATIO": str(tuning.overcommit_ratio),
        "NODE_LABEL": f"{key}={pages}",
    }


def setup_script(tuning: NodeTuningSettings) -> str:
    """`setup.sh`: the script with this stack's values as defaults, so that whoever reads the ConfigMap sees what is set."""
    defaults = "".join(f': "${{{name}:={value}}}"\n' for name, value in script_values(tuning).items())
    return f"#!/bin/sh\n{defaults}{SCRIPT.read_text()}"


class NodeTuning(pulumi.ComponentResource):
    """The script as a ConfigMap, and the DaemonSet that runs it."""

    def __init__(self, name: str, args: NodeTuningArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:NodeTuning", name, None, opts)
        script = setup_script(args.tuning)
        # A pod mounts ConfigMaps of its own namespace only, and a privileged pod may not live in `zig-ai`: the guide's ConfigMap is
        # where the guide says, the DaemonSet mounts its twin, and both come from the same text.
        for logical_name, namespace in ((name, names.NODE_AGENTS_NAMESPACE), (f"{name}-guide", names.SERVICE_NAMESPACE)):
            k8s.core.v1.ConfigMap(
                f"{logical_name}-script",
                metadata={
                    "name": names.HUGE_PAGES_CONFIG,
                    "namespace": namespace,
                    "labels": names.labels(names.NODE_TUNING, "node-agent"),
                },
                data={"setup.sh": script},
                opts=pulumi.ResourceOptions(parent=self),
            )
        k8s.apps.v1.DaemonSet(
            name,
            metadata={
                "name": names.NODE_TUNING,
                "namespace": names.NODE_AGENTS_NAMESPACE,
                "labels": names.labels(names.NODE_TUNING, "node-agent"),
            },
            spec=pods.manifest(
                {
                    "selector": {"matchLabels": names.selector(names.NODE_TUNING)},
                    "template": _pod_template(args, script),
                }
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _pod_template(args: NodeTuningArgs, script: str) -> Any:
    environment = [{"name": name, "value": value} for name, value in script_values(args.tuning).items()]
    return {
        "metadata": {
            "labels": names.labels(names.NODE_TUNING, "node-agent"),
            "annotations": {"zig-ai.io/config-hash": pods.content_hash(script)},
        },
        "spec": {
            "nodeSelector": names.GPU_NODE_LABEL,
            "tolerations": pods.gpu_tolerations(args.spot),
            "priorityClassName": names.NODE_CRITICAL,
            "hostPID": True,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": "node-tuning",
                    "image": args.image,
                    "command": pods.on_the_node(f"{_SCRIPT_DIR}/setup.sh"),
                    "env": [
                        *environment,
                        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
                    ],
                    "securityContext": {"privileged": True, "readOnlyRootFilesystem": True},
                    "readinessProbe": {"exec": {"command": ["test", "-e", _READY_FILE]}, "periodSeconds": 5},
                    # The limit is kubectl's: it runs in this pod's cgroup.
                    "resources": {"requests": node_agents.NODE_TUNING.as_kubernetes, "limits": {"memory": "256Mi"}},
                    "volumeMounts": [{"name": "script", "mountPath": _SCRIPT_DIR, "readOnly": True}],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "volumes": [{"name": "script", "configMap": {"name": names.HUGE_PAGES_CONFIG}}],
        },
    }


_VARIABLES = {
    "hugePages2Mi": ("HUGE_PAGES_2MI", "NODE_LABEL"),
    "transparentHugePages": ("THP",),
    "overcommitMemory": ("OVERCOMMIT_MEMORY",),
    "overcommitRatio": ("OVERCOMMIT_RATIO",),
}
"""Settings of `nodeTuning`, and the script's variables that they are."""


def effects(tuning: NodeTuningSettings) -> Iterator[Effect]:
    """The settings that the script answers, in its variables and as the defaults in its text."""
    agent = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.NODE_TUNING}")
    container = "spec.template.spec.containers[0]"
    scripts = [
        Resource("ConfigMap", f"{space}/{names.HUGE_PAGES_CONFIG}") for space in (names.NODE_AGENTS_NAMESPACE, names.SERVICE_NAMESPACE)
    ]
    for name, variables in _VARIABLES.items():
        found = [agent.effect(f"nodeTuning.{name}", f"{container}.env[{variable}].value") for variable in variables]
        found += [script.effect(f"nodeTuning.{name}", path_text("data", "setup.sh")) for script in scripts]
        read = name != "overcommitRatio" or tuning.overcommit_memory == 2
        # The kernel reads the ratio in this mode only: https://docs.kernel.org/mm/overcommit-accounting.html
        yield from found if read else not_read(found, "nodeTuning.overcommitMemory", str(tuning.overcommit_memory))
    yield agent.effect("images.nodeTuning", f"{container}.image")
    yield from pods.spot_effects(agent)
