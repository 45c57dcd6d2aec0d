"""NVIDIA's device plugin: what makes a node's GPUs countable as `nvidia.com/gpu`.

AKS installs the driver (the pool's `gpuProfile`) but not this plugin. The DaemonSet is NVIDIA's static manifest
(https://github.com/NVIDIA/k8s-device-plugin, deployments/static) with our node selector and namespace.
Not here: GPU metrics (`gpu_metrics.py`), the driver (`infra/azure/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods
from planner.catalogue import node_agents
from settings.account import Effect, Resource

_PLUGIN_DIR = "/var/lib/kubelet/device-plugins"


def device_plugin(image: str, *, spot: bool, static_cpu_manager: bool, mig: bool, opts: pulumi.ResourceOptions) -> k8s.apps.v1.DaemonSet:
    """The plugin on every GPU node.

    `static_cpu_manager`: whether the pools pin CPUs. The static CPU manager rewrites a running container's cgroup, which takes away
    devices that the plugin has not passed in the specification; NVIDIA's nvidia-device-plugin-compat-with-cpumanager.yml then passes
    them, and needs a privileged container to do so.
    `mig`: whether the pools cut their GPUs. All instances of a pool are alike, so each counts as one `nvidia.com/gpu`; to list
    them, the plugin needs NVIDIA_MIG_MONITOR_DEVICES and the right to use it, as NVIDIA's chart has it (deployments/helm,
    _helpers.tpl). articles/aks/gpu-multi-instance.md of MicrosoftDocs/azure-aks-docs.
    """
    environment = [
        *([{"name": "PASS_DEVICE_SPECS", "value": "true"}] if static_cpu_manager else []),
        *([{"name": "MIG_STRATEGY", "value": "single"}, {"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"}] if mig else []),
    ]
    return k8s.apps.v1.DaemonSet(
        names.DEVICE_PLUGIN,
        metadata={
            "name": names.DEVICE_PLUGIN,
            "namespace": names.NODE_AGENTS_NAMESPACE,
            "labels": names.labels(names.DEVICE_PLUGIN, "node-agent"),
        },
        spec=pods.manifest(
            {
                "selector": {"matchLabels": names.selector(names.DEVICE_PLUGIN)},
                "updateStrategy": {"type": "RollingUpdate"},
                "template": {
                    "metadata": {"labels": names.labels(names.DEVICE_PLUGIN, "node-agent")},
                    "spec": {
                        "nodeSelector": names.GPU_NODE_LABEL,
                        "tolerations": pods.gpu_tolerations(spot),
                        "priorityClassName": names.NODE_CRITICAL,
                        "automountServiceAccountToken": False,
                        "containers": [
                            {
                                "name": "nvidia-device-plugin-ctr",
                                "image": image,
                                "env": environment,
                                "securityContext": _security(static_cpu_manager=static_cpu_manager, mig=mig),
                                "resources": {"requests": node_agents.DEVICE_PLUGIN.as_kubernetes, "limits": {"memory": "256Mi"}},
                                "volumeMounts": [{"name": "kubelet-device-plugins-dir", "mountPath": _PLUGIN_DIR}],
                            }
                        ],
                        "volumes": [{"name": "kubelet-device-plugins-dir", "hostPath": {"path": _PLUGIN_DIR, "type": "Directory"}}],
                    },
                },
            }
        ),
        opts=opts,
    )


def _security(*, static_cpu_manager: bool, mig: bool) -> Any:
    if static_cpu_manager:
        return {"privileged": True}
    confined = {"seccompProfile": {"type": "RuntimeDefault"}}
    if mig:
        return confined | {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}
    return confined | {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def effects() -> Iterator[Effect]:
    """The settings that the plugin answers."""
    plugin = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.DEVICE_PLUGIN}")
    container = "spec.template.spec.containers[0]"
    yield plugin.effect("images.devicePlugin", f"{container}.image")
    yield plugin.effect("gpuPool.cpuManagerPolicy", f"{container}.env[PASS_DEVICE_SPECS].value")
    yield plugin.effect("gpuPool.mig", f"{container}.env[MIG_STRATEGY].value")
    yield plugin.effect("gpuPool.mig", f"{container}.env[NVIDIA_MIG_MONITOR_DEVICES].value")
    for key in ("gpuPool.cpuManagerPolicy", "gpuPool.mig"):
        yield plugin.effect(key, f"{container}.securityContext")
    yield from pods.spot_effects(plugin)
