"""The smaller parts: the stack file of a rehearsal, processes, the way into the cluster, faults, reports."""

import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal import processes, report
from rehearsal.azure.faults import parse
from rehearsal.azure.subscription import load, names
from rehearsal.cluster.egress import EgressProxy
from rehearsal.cluster.scheduling import PendingReport, unschedulable
from rehearsal.engine import Outcome
from rehearsal.layout import Layout
from rehearsal.ports import free_ports
from rehearsal.project import ProjectError, prepare, rehearsed
from rehearsal.run import Options, Rehearsal, clean, run
from settings.platform import Cluster
from tests.rehearsal.azure_client import AzureError


def test_the_chart_comes_from_disk_and_the_rest_stays():
    settings = {"config": {"zig-ai-aks:cluster": {"tier": "Standard"}, "zig-ai-aks:shard": {"a": 1.5}}}
    assert rehearsed(settings, "zig-ai-aks", chart="/charts/lws")["config"] == {
        "zig-ai-aks:cluster": {"tier": "Standard", "leaderWorkerSetChart": "/charts/lws"},
        "zig-ai-aks:shard": {"a": 1.5},
    }
    assert settings["config"]["zig-ai-aks:cluster"] == {"tier": "Standard"}


def test_a_real_stacks_secrets_provider_is_not_needed():
    """Only the team's key vault can decrypt the values, but a rehearsal must run without an account."""
    settings = {
        "secretsprovider": "azurekeyvault://v",
        "encryptedkey": "k",
        "config": {"p:token": {"secure": "v1:x"}, "p:a": [{"b": {"secure": "y"}}]},
    }
    assert rehearsed(settings, "p", chart="c") == {
        "config": {"p:token": "rehearsed-secret", "p:a": [{"b": "rehearsed-secret"}], "p:cluster": {"leaderWorkerSetChart": "c"}}
    }


def test_the_engine_writes_into_copies_only(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    (repository / "infra").mkdir(parents=True)
    (repository / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    (repository / "Pulumi.dev.yaml").write_text("config: {}\n")
    (repository / "__main__.py").write_text("")
    monkeypatch.setattr("rehearsal.project.share", lambda: Path("/share"))
    layout = Layout.of_stack("dev", repository)
    prepare(layout, repository, "dev")
    assert (layout.project / "infra").is_symlink() and (layout.project / "__main__.py").is_symlink()
    (layout.project / "Pulumi.dev.yaml").write_text("changed")
    (layout.project / "Pulumi.yaml").write_text("changed")
    assert (repository / "Pulumi.dev.yaml").read_text() == "config: {}\n"
    assert (repository / "Pulumi.yaml").read_text().startswith("name: p")
    assert not (layout.project / ".rehearsal").exists()
    with pytest.raises(ProjectError, match=r"there is no stack 'prod' \(Pulumi\.prod\.yaml\); the stacks are: dev"):
        prepare(layout, repository, "prod")


def test_the_version_that_a_stack_gets_can_be_had_and_upgraded():
    """AKS supports three minor versions at a time (supported-kubernetes-versions.md)."""
    for name in names():
        offered = load(name).kubernetes_versions
        assert Cluster().kubernetes_version in offered[:-1], name


@pytest.mark.process
def test_processes_are_found_by_their_mark_and_ended(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, "ZIG_REHEARSAL": str(tmp_path)})
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, "ZIG_REHEARSAL": f"{tmp_path}x"})
    try:
        deadline = time.monotonic() + 5
        while child.pid not in processes.marked(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert set(processes.marked(tmp_path)) == {child.pid}
        threading.Timer(0.5, child.wait).start()
        assert len(processes.end(tmp_path)) == 1
        assert child.wait(5) != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_api_servers_way_into_the_cluster(tmp_path):
    """It asks for a webhook's cluster IP; whatever is not known there is refused."""
    backend = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = backend.accept()
        with connection:
            connection.sendall(b"pong " + connection.recv(100))

    threading.Thread(target=serve, daemon=True).start()
    proxy = EgressProxy(tmp_path / "s")
    proxy.start()
    proxy.routes["10.0.0.7:443"] = backend.getsockname()[1]
    assert connect(tmp_path / "s", "10.0.0.7:443", b"hello").endswith(b"pong hello")
    assert connect(tmp_path / "s", "10.0.0.8:443", b"hello").startswith(b"HTTP/1.1 502")


def connect(path, target, payload):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = client.recv(1000)
        if b" 200 " in answer:
            client.sendall(payload)
            while data := client.recv(1000):
                answer += data
        return answer


def pod(name="p", reason="Unschedulable"):
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available"}
    return {"metadata": {"uid": name, "name": name, "namespace": "work"}, "spec": {}, "status": {"conditions": [condition]}}


def test_a_clusters_ports_are_free_and_none_that_outgoing_connections_get(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr("random.sample", lambda ports, _: [port, *ports[:3]] if ports[-1] < 32_768 else ports)
        assert port not in free_ports(2)


def test_only_what_the_scheduler_cannot_place_is_unschedulable():
    assert unschedulable(pod()) == "0/3 nodes are available"
    assert unschedulable(pod(reason="SchedulingGated")) is None
    assert unschedulable({"metadata": {}, "status": {}}) is None


class Fixed:
    def __init__(self, items):
        self.items = items

    def all(self):
        return self.items


def test_a_change_of_the_nodes_starts_the_wait_again(tmp_path, monkeypatch):
    """A pod waits for its pool's nodes and for their GPUs: that is no reason to give up on it."""
    layout = Layout(tmp_path)
    layout.cluster.mkdir()
    node = {"metadata": {"name": "n", "labels": {}}, "spec": {}, "status": {"allocatable": {"cpu": "1"}}}
    pods, nodes = Fixed([pod()]), Fixed([node])
    now = [100.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    part = PendingReport(layout, pods, nodes)

    def since():
        part.step()
        import json

        return [item["since"] for item in json.loads(layout.pending.read_text())]

    assert since() == [100.0]
    now[0] = 120.0
    assert since() == [100.0]
    node["status"]["allocatable"] = {"cpu": "1", "nvidia.com/gpu": "4"}
    assert since() == [120.0]
    pods.items = []
    assert since() == []


def test_faults_happen_once_and_are_told(azure, monkeypatch):
    from rehearsal.azure.faults import Faults

    monkeypatch.setenv("REHEARSAL_FAULTS", "500:ResourceGroup")
    azure.provider.faults = Faults(azure.provider.state)
    with pytest.raises(AzureError, match='Code="InternalServerError"'):
        azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    assert azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus").id


def test_a_fault_that_is_none():
    assert parse("500:AgentPool, crash:Redis") == [("500", "AgentPool"), ("crash", "Redis")]
    with pytest.raises(ValueError, match=r"no fault 'boom:AgentPool': write one of throttle:TYPE, 500:TYPE, quota:TYPE, crash:TYPE"):
        parse("boom:AgentPool")


def test_every_subscription_loads_and_says_what_it_is():
    assert names() == ["default", "encrypted", "granted", "no-zones", "tight-quota", "today"]
    for name in names():
        assert load(name).description
    assert load("today").regions == load("default").regions
    assert load("no-zones").zones("eastus") == []


def test_the_counts_are_the_engines():
    outcome = Outcome("up")
    outcome.changes.update({"create": 3, "same": 2, "delete": 0})
    assert report.counts(outcome) == "3 created, 2 unchanged"
    assert outcome.changed == {"create": 3}


def test_a_second_run_of_a_stack_waits_for_nobody(tmp_path):
    """Two runs would share one folder: the second is told so at once."""
    import fcntl

    (tmp_path / ".rehearsal").mkdir()
    output = io.StringIO()
    with open(tmp_path / ".rehearsal" / "dev.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(Options(stack="dev", repository=tmp_path), Console(file=output, width=200)) == 1
    assert "a rehearsal of dev is already running" in output.getvalue()


def test_clean_where_there_is_nothing(tmp_path):
    assert clean(tmp_path, console=Console(file=io.StringIO())) == 0


class EngineOfNothing:
    """A stack without resources; remembers what was asked of it."""

    def __init__(self, protected=()):
        self.asked, self._protected = [], list(protected)

    def __getattr__(self, operation):
        def asked(name=operation):
            self.asked.append(name)
            return Outcome(name)

        return asked

    def protected(self):
        return self._protected

    def next_step(self):
        return None

    def resources(self):
        return []


@pytest.mark.parametrize(("protected", "steps"), [([], []), (["cluster"], ["unprotect"])])
def test_only_a_stack_that_protects_something_needs_a_step_before_its_end(tmp_path, protected, steps):
    engine, output = EngineOfNothing(protected), io.StringIO()
    Rehearsal(Options(stack="dev"), Layout(tmp_path), Console(file=output, width=200), engine).stages()
    assert engine.asked == ["preview", "up", "up again", "refresh", *steps, "destroy"]
    assert ("pulumi state unprotect" in output.getvalue()) == bool(steps)
