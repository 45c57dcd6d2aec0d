"""Kubernetes' Pod Security Standards as a check of a pod specification, level by level.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any

_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
_RESTRICTED_VOLUMES = {
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "image",
}


def violations(spec: dict[str, Any], level: str) -> list[str]:
    """What in the specification the level forbids; empty when it conforms."""
    if level == "privileged":
        return []
    found = _baseline(spec)
    return found + (_restricted(spec) if level == "restricted" else [])


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _baseline(spec: dict[str, Any]) -> list[str]:
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {volume['name']}: hostPath" for volume in spec.get("volumes", []) if "hostPath" in volume]
    for container in _containers(spec):
        security = container.get("securityContext", {})
        if security.get("privileged"):
            found.append(f"{container['name']}: privileged")
        extra = set(security.get("capabilities", {}).get("add", [])) - _BASELINE_CAPABILITIES
        found += [f"{container['name']}: capability {name}" for name in sorted(extra)]
        found += [f"{container['name']}: host port" for port in container.get("ports", []) if port.get("hostPort")]
        if security.get("procMount", "Default") != "Default":
            found.append(f"{container['name']}: procMount")
    return found


def _restricted(spec: dict[str, Any]) -> list[str]:
    pod = spec.get("securityContext", {})
    found = [f"volume {volume['name']}: {kind}" for volume in spec.get("volumes", []) for kind in volume.keys() - _RESTRICTED_VOLUMES]
    for container in _containers(spec):
        name, security = container["name"], container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name}: allowPrivilegeEscalation")
        if not security.get("runAsNonRoot", pod.get("runAsNonRoot")):
            found.append(f"{name}: runAsNonRoot")
        if security.get("runAsUser", pod.get("runAsUser")) == 0:
            found.append(f"{name}: runAsUser 0")
        if security.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name}: seccompProfile")
        capabilities = security.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            found.append(f"{name}: keeps capabilities")
        found += [f"{name}: capability {extra}" for extra in sorted(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"})]
    return found
