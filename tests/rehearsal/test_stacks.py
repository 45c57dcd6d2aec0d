"""prod and dev, unmodified, on the real engine and a real control plane: what runs where, and that nothing is left."""

import json
import subprocess

import pytest

from rehearsal import processes
from rehearsal.azure import subscription
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.look import look
from rehearsal.run import rehearsed, take_away
from tests.rehearsal.linked import linked_repository

pytestmark = pytest.mark.engine

HOST_ACCESS = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "intruder", "namespace": "zig-ai"},
    "spec": {"hostPID": True, "containers": [{"name": "shell", "image": "shell", "securityContext": {"privileged": True}}]},
}


class Rehearsed:
    """A stack after its first up."""

    def __init__(self, engine, layout):
        self.engine, self.layout = engine, layout

    def kubectl(self, *arguments, manifest=None):
        command = ["kubectl", "--kubeconfig", self.layout.kubeconfig, *arguments]
        return subprocess.run(command, input=json.dumps(manifest) if manifest else None, capture_output=True, text=True)

    def get(self, kind, namespace=None):
        done = self.kubectl("get", kind, *(["-n", namespace] if namespace else ["-A"]), "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["items"]

    def apply(self, manifest):
        return self.kubectl("apply", "--dry-run=server", "-f", "-", manifest=manifest)


def up(stack, tmp_path_factory):
    repository = linked_repository(REPOSITORY, tmp_path_factory.mktemp(stack))
    layout = Layout.of_stack(stack, repository)
    try:
        with rehearsed(layout, repository, stack, subscription.load("default")) as engine:
            for outcome in (engine.preview(), engine.up()):
                assert not outcome.failed, outcome.errors
            yield Rehearsed(engine, layout)
    finally:
        take_away(layout)


@pytest.fixture(scope="module")
def prod(tmp_path_factory):
    yield from up("prod", tmp_path_factory)


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    yield from up("dev", tmp_path_factory)


def running(pods, name):
    found = [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/name") == name]
    assert all(pod["status"]["phase"] == "Running" for pod in found), [pod["status"] for pod in found]
    return found


def test_all_shards_run_one_a_node_spread_over_the_zones(prod):
    shards = running(prod.get("pods", "zig-ai"), "zig-ai-shard")
    assert sorted(pod["metadata"]["name"] for pod in shards) == ["zig-ai-shard-0", *(f"zig-ai-shard-0-{i}" for i in range(1, 8))]
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in prod.get("nodes")}
    placed = [nodes[pod["spec"]["nodeName"]] for pod in shards]
    assert len({labels["kubernetes.io/hostname"] for labels in placed}) == 8
    zones = sorted(labels["topology.kubernetes.io/zone"] for labels in placed)
    assert [zones.count(zone) for zone in ("eastus-1", "eastus-2", "eastus-3")] == [3, 3, 2]
    assert all(labels["zig-ai.io/huge-pages-2mi"] == "1024" for labels in placed)


def test_each_shard_knows_its_place_in_the_pipeline(prod):
    """The label that the shard's environment reads, set by the real LeaderWorkerSet controller."""
    shards = running(prod.get("pods", "zig-ai"), "zig-ai-shard")
    indices = {pod["metadata"]["name"]: pod["metadata"]["labels"]["leaderworkerset.sigs.k8s.io/worker-index"] for pod in shards}
    assert indices == {f"zig-ai-shard-0{f'-{i}' if i else ''}": str(i) for i in range(8)}


def test_coordinators_run_on_two_nodes_behind_an_internal_address(prod):
    coordinators = running(prod.get("pods", "zig-ai"), "zig-ai-coordinator")
    assert len({pod["spec"]["nodeName"] for pod in coordinators}) == 2
    (service,) = [item for item in prod.get("services", "zig-ai") if item["metadata"]["name"] == "zig-ai-coordinator-service"]
    assert service["metadata"]["annotations"]["service.beta.kubernetes.io/azure-load-balancer-internal"] == "true"
    assert service["status"]["loadBalancer"]["ingress"]


def test_nothing_is_pending(prod):
    assert look(prod.layout).not_running == []


def test_pod_security_refuses_host_access_beside_the_service(prod):
    refused = prod.apply(HOST_ACCESS)
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr
    assert "hostPID=true" in refused.stderr and "privileged" in refused.stderr


def test_the_load_test_can_be_started_from_its_template(prod):
    (template,) = prod.get("cronjobs", "zig-ai")
    assert template["spec"]["suspend"] is True
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "load-test-1", "namespace": "zig-ai"},
        "spec": template["spec"]["jobTemplate"]["spec"],
    }
    accepted = prod.apply(job)
    assert accepted.returncode == 0 and "Warning" not in accepted.stderr, accepted.stderr


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_a_second_up_and_a_refresh_change_nothing_and_destroy_leaves_nothing(stack, request):
    stack = request.getfixturevalue(stack)
    for outcome in (stack.engine.up("up again"), stack.engine.refresh()):
        assert not outcome.failed and not outcome.changed, outcome.details
    if stack.engine.protected():
        refused = stack.engine.destroy()
        assert refused.failed and "protect" in "".join(refused.errors)
        stack.engine.unprotect()
    outcome = stack.engine.destroy()
    assert not outcome.failed, outcome.errors
    assert stack.engine.resources() == []
    assert json.loads(stack.layout.azure.read_text())["resources"] == {}
    assert not stack.layout.kubeconfig.exists()
    assert processes.marked(stack.layout.root) == {}
