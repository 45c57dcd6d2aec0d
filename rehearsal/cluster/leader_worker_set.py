"""The LeaderWorkerSet controller: the real one, as a local process, once the official chart is in the cluster.

Its pod is simulated like any other, but becomes ready only when the process answers. The chart's Secret, filled by the
controller, is copied to its certificate folder as a kubelet's volume would be; the webhook Service's cluster IP leads to it.
"""

from __future__ import annotations

import base64
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import yaml

from rehearsal.cluster.api import Api, Cache
from rehearsal.cluster.control_plane import program
from rehearsal.cluster.egress import EgressProxy
from rehearsal.layout import Layout
from rehearsal.ports import free_port

NAMESPACE = "lws-system"  # the controller looks for its Secret there when it is not in a pod
SECRET = "lws-webhook-server-cert"
SERVICE = "lws-webhook-service"


class LeaderWorkerSetController:
    """Runs the controller while its chart is in the cluster."""

    def __init__(self, layout: Layout, api: Api, pods: Cache, egress: EgressProxy) -> None:
        self._layout, self._api, self._pods, self._egress = layout, api, pods, egress
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._certificates = layout.cluster / "lws-certificates"
        self._answers = False
        self._looked = 0.0

    def step(self) -> None:
        """Does one pass, with at most three requests per second to the API server."""
        if time.monotonic() - self._looked < 0.3:
            return
        self._looked = time.monotonic()
        mine = [
            pod
            for pod in self._pods.all()
            if pod["metadata"]["namespace"] == NAMESPACE and pod["metadata"].get("labels", {}).get("control-plane") == "controller-manager"
        ]
        if not mine:
            self._end()
            return
        if self._answers and all("rehearsal/process" in pod["metadata"].get("annotations", {}) for pod in mine):
            if self._process and self._process.poll() is not None:
                self._end()  # it died: start again in the next pass
            return
        secret = self._api.quietly("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}")
        service = self._api.quietly("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}")
        if secret is None or service is None or not any(pod["spec"].get("nodeName") for pod in mine):
            return
        if self._process is None or self._process.poll() is not None:
            self._start(service["spec"]["clusterIP"])
        self._copy(secret.get("data") or {})
        if self._ready():
            self._answers = True
            for pod in mine:
                self._api.quietly(
                    "PATCH",
                    f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}",
                    {"metadata": {"annotations": {"rehearsal/process": "ready"}}},
                )

    def _start(self, cluster_ip: str) -> None:
        self._ports = {name: free_port() for name in ("webhook", "health", "metrics")}
        self._certificates.mkdir(parents=True, exist_ok=True)
        settings = {
            "apiVersion": "config.lws.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": True, "webhookServiceName": SERVICE, "webhookSecretName": SECRET},
            "webhook": {"host": "127.0.0.1", "port": self._ports["webhook"], "certDir": str(self._certificates)},
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._ports['health']}"},
            "metrics": {"bindAddress": f"127.0.0.1:{self._ports['metrics']}"},
        }
        path = self._layout.cluster / "lws.yaml"
        path.write_text(yaml.safe_dump(settings))
        self._egress.routes[f"{cluster_ip}:443"] = self._ports["webhook"]
        with open(self._layout.logs / "lws-controller.log", "ab") as log:
            self._process = subprocess.Popen(
                [program("lws-controller"), "--config", str(path), "--kubeconfig", str(self._layout.kubeconfig)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "POD_NAMESPACE": NAMESPACE},
            )  # fmt: skip

    def _copy(self, data: dict[str, str]) -> None:
        for name, value in data.items():
            path = self._certificates / name
            content = base64.b64decode(value)
            if not path.exists() or path.read_bytes() != content:
                _write(path, content)

    def _ready(self) -> bool:
        """Whether the webhook is served and its CA is published; /readyz alone answers too early."""
        hook = self._api.quietly(
            "GET", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/lws-mutating-webhook-configuration"
        )
        if not hook or not all(item["clientConfig"].get("caBundle") for item in hook["webhooks"]):
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['health']}/readyz", timeout=1):
                pass
        except OSError:
            return False
        return _listens(self._ports["webhook"])

    def _end(self) -> None:
        self._answers = False
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None
            self._egress.routes.clear()
            for path in self._certificates.glob("*"):
                path.unlink()


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _write(path: Path, content: bytes) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    draft.write_bytes(content)
    draft.rename(path)
