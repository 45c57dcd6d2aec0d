"""The cluster's control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as local processes.

kwokctl (kubernetes-sigs/kwok) starts them; kwok plays the kubelets by the Stage files in `stages/`. Beside them runs one
supervisor (`python -m rehearsal.cluster`) for what AKS does around a control plane.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import yaml

from rehearsal import processes
from rehearsal.layout import REPOSITORY, SHARED, Layout
from rehearsal.ports import free_ports
from rehearsal.programs import MissingProgramError, find_program

HERE = Path(__file__).resolve().parent
CLUSTER_MARK = "ZIG_REHEARSAL_CLUSTER"  # the part of a rehearsal's processes that lives as long as its cluster
_BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


class ControlPlaneError(Exception):
    """The control plane cannot be started; the message says why and what to do."""


def program(name: str) -> str:
    """Returns the path of a program from the toolchain. Raises ControlPlaneError."""
    try:
        return find_program(name, target="rehearse")
    except MissingProgramError as problem:
        raise ControlPlaneError(str(problem)) from None


def share() -> Path:
    """Returns the folder of the toolchain's charts and CRDs. The path is not resolved, because `bin` contains links."""
    return Path(program("lws-controller")).parent.parent / "share"


def kubernetes_version() -> str:
    """Returns the version of the kube-apiserver on PATH, such as 1.36.3."""
    text = subprocess.run([program("kube-apiserver"), "--version"], capture_output=True, text=True, check=True).stdout
    return text.split()[-1].removeprefix("v")


def start(layout: Layout, *, name: str, version: str | None, addons: frozenset[str]) -> None:
    """Start the control plane and its supervisor, wait until it answers, and write `layout.kubeconfig`.

    `name` is the cluster's, `version` what the cluster asks for (its minor version must be the one there is), `addons`
    those of `keda` and `key-vault` that are on. Raises ControlPlaneError.
    """
    have = kubernetes_version()
    if version and version.split(".")[:2] != have.split(".")[:2]:
        minor = ".".join(have.split(".")[:2])
        raise ControlPlaneError(f"the cluster asks for Kubernetes {version}, the rehearsal has {have}: ask for {minor}, or install another")
    if alive(layout):
        _bring(layout, addons)  # an add-on may have been turned on
        return
    stop(layout)
    layout.cluster.mkdir(parents=True, exist_ok=True)
    layout.logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, CLUSTER_MARK: str(layout.root), "KWOK_WORKDIR": str(layout.cluster / "kwok")}
    environment.setdefault("HOME", str(layout.cluster))
    _supervise(layout, environment)
    with _one_at_a_time(), open(layout.logs / "kwokctl.log", "ab") as log:
        # no pipes: the control plane's processes would inherit them and this call would wait for their end
        done = subprocess.run(_create_command(layout), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        stop(layout)
        raise ControlPlaneError(
            f"the control plane did not start; see {layout.logs / 'kwokctl.log'}:\n{_tail(layout.logs / 'kwokctl.log')}"
        )
    # The supervisor makes nodes as soon as there is a kubeconfig, and kwok plays a node by the stages of that moment.
    _bring(layout, addons)
    _write_kubeconfig(layout, name)


def _create_command(layout: Layout) -> list[str]:
    egress = layout.cluster / "egress-selector.yaml"
    egress.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "apiserver.k8s.io/v1beta1",
                "kind": "EgressSelectorConfiguration",
                "egressSelections": [
                    {
                        "name": "cluster",
                        "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(layout.socket)}}},
                    }
                ],
            }
        )
    )
    ports = dict(
        zip(
            ("etcd-port", "kube-apiserver-port", "kube-controller-manager-port", "kube-scheduler-port", "controller-port"),
            _ports(5),
            strict=True,
        )
    )
    command = [program("kwokctl"), "create", "cluster", "--name", f"zig-{layout.short}", "--runtime", "binary"]
    command += ["--kubeconfig", str(layout.cluster / "kwok-kubeconfig"), "--enable-crds", "Stage", "--disable-qps-limits", "--wait", "180s"]
    command += ["--extra-args", f"kube-apiserver=egress-selector-config-file={egress}"]
    for flag, port in ports.items():
        command += [f"--{flag}", str(port)]
    for binary in _BINARIES:
        command += [f"--{'kwok-controller' if binary == 'kwok' else binary}-binary", program(binary)]
    return command


def _ports(count: int) -> list[int]:
    try:
        return free_ports(count)
    except OSError as error:
        raise ControlPlaneError(str(error)) from None


@contextlib.contextmanager
def _one_at_a_time() -> Generator[None]:
    """Locks the start, because kwokctl takes the first free port for services without a flag, and two starts would take the same one."""
    with open(SHARED / f"zig-ai-aks-ports-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _supervise(layout: Layout, environment: dict[str, str]) -> None:
    environment = {**environment, "PYTHONPATH": str(REPOSITORY)}
    with open(layout.logs / "supervisor.log", "ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "rehearsal.cluster"],
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # it outlives the plugin that starts it
            cwd=layout.root,
        )
    deadline = time.monotonic() + 60
    while not layout.socket.exists():  # kube-apiserver needs the egress proxy from its first webhook on
        if time.monotonic() > deadline:
            raise ControlPlaneError(
                f"the cluster's supervisor did not start; see {layout.logs / 'supervisor.log'}:\n{_tail(layout.logs / 'supervisor.log')}"
            )
        time.sleep(0.05)


def _write_kubeconfig(layout: Layout, name: str) -> None:
    """Returns a kubeconfig like AKS's: with one context named after the cluster, and with certificates inside."""
    raw = yaml.safe_load((layout.cluster / "kwok-kubeconfig").read_text())
    server, user = dict(raw["clusters"][0]["cluster"]), dict(raw["users"][0]["user"])
    for holder, keys in ((server, ("certificate-authority",)), (user, ("client-certificate", "client-key"))):
        for key in keys:
            if key in holder:
                holder[f"{key}-data"] = base64.b64encode(Path(holder.pop(key)).read_bytes()).decode()
    login = f"clusterUser_{name}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": login, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": login}}],
        "current-context": name,
        "preferences": {},
    }
    draft = layout.kubeconfig.with_suffix(".new")
    draft.write_text(yaml.safe_dump(config, sort_keys=False))
    draft.chmod(0o600)
    draft.rename(layout.kubeconfig)


def _bring(layout: Layout, addons: frozenset[str]) -> None:
    """Adds what an AKS cluster has from the start (storage classes and add-on CRDs), and the stages of the simulated kubelets."""
    command = [
        program("kubectl"),
        "--kubeconfig",
        str(layout.cluster / "kwok-kubeconfig"),
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        str(HERE / "stages"),
        "-f",
        str(HERE / "aks"),
    ]
    if "keda" in addons:
        command += ["-f", str(share() / "keda" / "crd")]
    if "key-vault" in addons:
        command += ["-f", str(HERE / "addons" / "key-vault.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ControlPlaneError(f"the new cluster refused what AKS brings: {done.stderr.strip()}")


def nodes_text(layout: Layout) -> str:
    """Returns the state of nodes and processes and the end of the supervisor's log, for an error message."""
    command = [program("kubectl"), "--kubeconfig", str(layout.cluster / "kwok-kubeconfig"), "get", "nodes", "--request-timeout=10s"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    running = sorted(Path(line.split(" ")[0]).name for line in processes.marked(layout.root, CLUSTER_MARK).values())
    log_end = _tail(layout.logs / "supervisor.log")
    return f"{answer.stdout}{answer.stderr}\nrunning: {', '.join(running)}\nthe supervisor said:\n{log_end}"


def alive(layout: Layout) -> bool:
    """Whether the control plane answers."""
    if not layout.kubeconfig.exists():
        return False
    server = re.search(r"server: (\S+)", layout.kubeconfig.read_text())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only asking whether it is there
    try:
        with urllib.request.urlopen(f"{server.group(1)}/livez" if server else "", timeout=2, context=context):
            return True
    except urllib.error.HTTPError:
        return True  # it answers, if only "unauthorised"
    except (OSError, ValueError):
        return False


def stop(layout: Layout) -> None:
    """Kills the control plane and removes its data."""
    processes.end(layout.root, CLUSTER_MARK)
    shutil.rmtree(layout.cluster, ignore_errors=True)
    layout.kubeconfig.unlink(missing_ok=True)
    layout.socket.unlink(missing_ok=True)


def _tail(path: Path, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def credentials(layout: Layout) -> list[dict[str, Any]]:
    """Returns the kubeconfigs with which Azure's listClusterUserCredential would answer."""
    encoded = base64.b64encode(layout.kubeconfig.read_bytes()).decode()
    return [{"name": "clusterUser", "value": encoded}]
