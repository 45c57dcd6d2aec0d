"""NVIDIA's device plugin: what makes a node's GPUs countable as `nvidia.com/gpu`.

AKS installs the driver (the pool's `gpuProfile`) but not this plugin. The DaemonSet is NVIDIA's static manifest
(https://github.com/NVIDIA/k8s-device-plugin, deployments/static) with our node selector and namespace.
Not here: GPU metrics (`gpu_metrics.py`), the driver (`infra/azure/`).
"""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods

_PLUGIN_DIR = "/var/lib/kubelet/device-plugins"


def device_plugin(image: str, *, spot: bool, static_cpu_manager: bool, opts: pulumi.ResourceOptions) -> k8s.apps.v1.DaemonSet:
    """The plugin on every GPU node.

    `static_cpu_manager`: whether the pools pin CPUs. The static CPU manager rewrites a running container's cgroup, which takes away
    devices that the plugin has not passed in the specification; NVIDIA's nvidia-device-plugin-compat-with-cpumanager.yml then passes
    them, and needs a privileged container to do so.
    """
    if static_cpu_manager:
        environment = [{"name": "PASS_DEVICE_SPECS", "value": "true"}]
        security: Any = {"privileged": True}
    else:
        environment = []
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return k8s.apps.v1.DaemonSet(
        names.DEVICE_PLUGIN,
        metadata={
            "name": names.DEVICE_PLUGIN,
            "namespace": names.NODE_AGENTS_NAMESPACE,
            "labels": names.labels(names.DEVICE_PLUGIN, "node-agent"),
        },
        spec={
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
                            "securityContext": security,
                            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                            "volumeMounts": [{"name": "kubelet-device-plugins-dir", "mountPath": _PLUGIN_DIR}],
                        }
                    ],
                    "volumes": [{"name": "kubelet-device-plugins-dir", "hostPath": {"path": _PLUGIN_DIR, "type": "Directory"}}],
                },
            },
        },
        opts=opts,
    )
