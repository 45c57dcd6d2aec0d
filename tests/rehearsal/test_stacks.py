"""prod and dev, unmodified, side by side on the real engine and real control planes: what runs where, that prod changes its engine, and
that nothing is left."""

import contextlib
import json
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.registration import registration
from planner import plan
from rehearsal import processes
from rehearsal.azure import subscription
from rehearsal.changes import Running, changes, refresh_and_settle
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.look import look
from rehearsal.run import rehearsed, take_away
from reports.outcomes import outcomes
from settings import files
from tests import evidence
from tests.rehearsal.linked import linked_repository
from tests.rehearsal.standing import Standing

pytestmark = pytest.mark.process

# prod as it is planned: its shards, the GPU nodes they are on, and how many of those each zone has
SHARDS = 8
GPU_NODES = 2
NODES_BY_ZONE = {"eastus-1": 2}
HUGE_PAGES_2MI = "1024"

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


def up(stack, folder, exits):
    repository = linked_repository(REPOSITORY, folder)
    layout = Layout.of_stack(stack, repository)
    exits.callback(take_away, layout)
    engine = exits.enter_context(rehearsed(layout, repository, stack, subscription.load("default")))
    for outcome in (engine.preview(), engine.up()):
        assert not outcome.failed, (stack, outcome.errors)
    return Rehearsed(engine, layout)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Both after their first up, made side by side; dev begins once prod's control plane is there, so as not to start two at once."""
    folders = {stack: tmp_path_factory.mktemp(stack) for stack in ("prod", "dev")}
    with contextlib.ExitStack() as exits, ThreadPoolExecutor() as side_by_side:
        begun = {"prod": side_by_side.submit(up, "prod", folders["prod"], exits)}
        while not begun["prod"].done() and not Layout.of_stack("prod", folders["prod"]).kubeconfig.exists():
            time.sleep(0.2)
        begun["dev"] = side_by_side.submit(up, "dev", folders["dev"], exits)
        yield {stack: one.result() for stack, one in begun.items()}


@pytest.fixture
def prod(stacks):
    return stacks["prod"]


def running(pods, name):
    found = [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/name") == name]
    assert all(pod["status"]["phase"] == "Running" for pod in found), [pod["status"] for pod in found]
    return found


def shard_names():
    return ["zig-ai-shard-0", *(f"zig-ai-shard-0-{index}" for index in range(1, SHARDS))]


def test_all_shards_run_spread_over_nodes_and_zones(prod):
    shards = running(prod.get("pods", "zig-ai"), "zig-ai-shard")
    assert sorted(pod["metadata"]["name"] for pod in shards) == shard_names()
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in prod.get("nodes")}
    used = {pod["spec"]["nodeName"]: nodes[pod["spec"]["nodeName"]] for pod in shards}
    assert len(used) == GPU_NODES
    assert Counter(labels["topology.kubernetes.io/zone"] for labels in used.values()) == NODES_BY_ZONE
    assert all(labels["zig-ai.io/huge-pages-2mi"] == HUGE_PAGES_2MI for labels in used.values())


def test_the_scheduler_puts_the_shards_where_the_plan_has_them(prod):
    planned = Counter(pod.node for pod in plan(files.from_file(files.stack_file_path("prod"), "prod").require()).pods)
    placed = Counter(pod["spec"].get("nodeName") for pod in running(prod.get("pods", "zig-ai"), "zig-ai-shard"))
    assert None not in planned and None not in placed
    assert sorted(placed.values()) == sorted(planned.values()) == [4, 4]


def test_no_paid_gpu_is_idle(prod):
    gpu_nodes = [node for node in look(prod.layout).nodes if node.gpus]
    assert [(node.gpus_used, node.gpus) for node in gpu_nodes] == [(4, 4)] * GPU_NODES


def test_pinned_shards_get_cpus_of_their_own(prod):
    """The static CPU manager of Kubernetes gives whole CPUs to Guaranteed pods only, and reports nothing about others."""
    for pod in running(prod.get("pods", "zig-ai"), "zig-ai-shard"):
        assert pod["status"]["qosClass"] == "Guaranteed"
        assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].isdecimal()


def test_each_shard_knows_its_place_in_the_pipeline(prod):
    """The label that the shard's environment reads, set by the real LeaderWorkerSet controller."""
    shards = running(prod.get("pods", "zig-ai"), "zig-ai-shard")
    indices = {pod["metadata"]["name"]: pod["metadata"]["labels"]["leaderworkerset.sigs.k8s.io/worker-index"] for pod in shards}
    assert indices == {name: str(index) for index, name in enumerate(shard_names())}


def test_coordinators_run_on_two_nodes_behind_an_internal_address(prod):
    coordinators = running(prod.get("pods", "zig-ai"), "zig-ai-coordinator")
    assert len({pod["spec"]["nodeName"] for pod in coordinators}) == 2
    (service,) = [item for item in prod.get("services", "zig-ai") if item["metadata"]["name"] == "zig-ai-coordinator-service"]
    assert service["metadata"]["annotations"]["service.beta.kubernetes.io/azure-load-balancer-internal"] == "true"
    assert service["status"]["loadBalancer"]["ingress"]


def test_the_controllers_of_the_shards_run_on_two_nodes_and_are_pushed_off_none(prod):
    """The chart has no value for the priority: the real engine and provider add it to what the chart renders."""
    controllers = [pod for pod in prod.get("pods", "lws-system") if pod["metadata"]["labels"].get("control-plane") == "controller-manager"]
    assert len({pod["spec"]["nodeName"] for pod in controllers}) == len(controllers) == 2
    [serving] = {pod["spec"]["priority"] for pod in running(prod.get("pods", "zig-ai"), "zig-ai-coordinator")}
    assert all(pod["spec"]["priority"] > serving for pod in controllers)
    [budget] = prod.get("poddisruptionbudgets", "lws-system")
    assert budget["status"]["expectedPods"] == 2


def test_nothing_is_pending(prod):
    assert look(prod.layout).not_running == []


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_each_setting_is_where_explain_says(stacks, stack):
    assert_each_setting_is_where_explain_says(stacks[stack], stack)


def assert_each_setting_is_where_explain_says(rehearsed, stack):
    """Each printed `where` is looked up in the real API server, in the stand-in's state or in Pulumi's."""
    asked = files.from_file(rehearsed.layout.project / f"Pulumi.{stack}.yaml", stack).require()
    made = plan(asked)
    standing = Standing(rehearsed, made)
    places = [
        place for row in outcomes(asked, registration(made, stack)) for place in row.places if row.key != "cluster.leaderWorkerSetChart"
    ]
    assert len(places) > 150
    assert [problem for place in places if (problem := evidence.wrong(place, standing.find))] == []


def test_dev_is_one_llama_server_behind_envoy_and_pays_for_nothing_else(stacks):
    """The real API server has admitted the pods: restricted, with the engine's own images, and without a disk that nothing reads."""
    dev = stacks["dev"]
    [shard] = running(dev.get("pods", "zig-ai"), "zig-ai-shard")
    [coordinator] = running(dev.get("pods", "zig-ai"), "zig-ai-coordinator")
    images = [pod["spec"]["containers"][0]["image"].partition(":")[0] for pod in (shard, coordinator)]
    assert images == ["ghcr.io/ggml-org/llama.cpp", "docker.io/envoyproxy/envoy"]
    assert {volume["name"] for volume in shard["spec"]["volumes"]} == {"tmp", "node-weights"}
    assert shard["status"]["qosClass"] == "Guaranteed"
    assert {claim["spec"]["storageClassName"] for claim in dev.get("persistentvolumeclaims", "zig-ai")} == {""}
    redis = "azure-native:redisenterprise:"
    assert redis in stacks["prod"].layout.azure.read_text() and redis not in dev.layout.azure.read_text()


def test_weights_are_fetched_by_a_job_and_read_from_the_nodes_own_disk(stacks):
    """The real API server takes a path of the node behind a claim, and refuses it in a pod of the same namespace."""
    dev = stacks["dev"]
    [job] = dev.get("jobs", "zig-ai")
    assert job["status"]["succeeded"] == 1
    [shard] = running(dev.get("pods", "zig-ai"), "zig-ai-shard")
    [copy] = running(dev.get("pods", "zig-ai-node-agents"), "zig-ai-weights-copy")
    assert copy["spec"]["nodeName"] == shard["spec"]["nodeName"]
    [claimed] = [volume["persistentVolumeClaim"]["claimName"] for volume in shard["spec"]["volumes"] if volume["name"] == "node-weights"]
    [claim] = [claim for claim in dev.get("persistentvolumeclaims", "zig-ai") if claim["metadata"]["name"] == claimed]
    [volume] = [volume for volume in dev.get("persistentvolumes") if volume["metadata"]["name"] == claim["spec"]["volumeName"]]
    assert claim["status"]["phase"] == volume["status"]["phase"] == "Bound"
    path = {"name": "weights", "hostPath": volume["spec"]["hostPath"]}
    refused = dev.apply(HOST_ACCESS | {"spec": {"containers": [{"name": "shell", "image": "shell"}], "volumes": [path]}})
    assert refused.returncode != 0 and "hostPath" in refused.stderr


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


def published(stack, service):
    """Pods behind a Service's name, and whether the DNS would name them: CoreDNS takes those whose condition is `ready`."""
    slices = [one for one in stack.get("endpointslices", "zig-ai") if one["metadata"]["labels"]["kubernetes.io/service-name"] == service]
    return {end["targetRef"]["name"]: end["conditions"]["ready"] for one in slices for end in one.get("endpoints") or ()}


def test_a_pipeline_that_is_about_to_end_leaves_the_name_of_the_leaders_at_once(stacks):
    """The coordinator would send it requests for as long as it is there. Its kubelet is simulated: it takes its time when told to."""
    dev, pod = stacks["dev"], ("pod", "zig-ai-shard-0", "-n", "zig-ai")
    ending = REPOSITORY / "rehearsal" / "cluster" / "stages" / "pod-delete.yaml"

    def until(ready):
        deadline = time.monotonic() + 60
        while published(dev, "zig-ai-shard-leaders") != {"zig-ai-shard-0": ready}:
            assert time.monotonic() < deadline, published(dev, "zig-ai-shard-leaders")
            time.sleep(0.2)

    until(ready=True)
    assert dev.kubectl("delete", "-f", ending).returncode == 0
    try:
        assert dev.kubectl("delete", *pod, "--wait=false").returncode == 0
        until(ready=False)
        assert published(dev, "zig-ai-shard") == {"zig-ai-shard-0": True}, "the controller's own name keeps it"
    finally:
        assert dev.kubectl("apply", "-f", ending).returncode == 0
        assert dev.kubectl("delete", *pod, "--grace-period=0", "--force").returncode == 0
    until(ready=True)


def test_one_line_switches_the_engine_of_a_running_stack(prod):
    """To vLLM, whose pipeline spans two nodes of V100: a Ray group as the real LeaderWorkerSet controller makes it, on the same nodes."""
    assert_unchanged_by_a_second_up(prod)
    # The other engine's Redis is protected, and nothing asks it any more.
    prod.engine.unprotect()
    file = prod.layout.project / "Pulumi.prod.yaml"
    file.write_text(file.read_text().replace("config:\n", "config:\n  zig-ai-aks:engine: vllm\n", 1))
    outcome = prod.engine.up("up with vllm")
    assert not outcome.failed, outcome.errors
    leader, worker = sorted(running(prod.get("pods", "zig-ai"), "zig-ai-shard"), key=lambda pod: pod["metadata"]["name"])
    assert [pod["metadata"]["name"] for pod in (leader, worker)] == ["zig-ai-shard-0", "zig-ai-shard-0-1"]
    assert leader["spec"]["nodeName"] != worker["spec"]["nodeName"] and look(prod.layout).not_running == []
    assert [(node.gpus_used, node.gpus) for node in look(prod.layout).nodes if node.gpus] == [(4, 4)] * GPU_NODES
    for pod, subcommand in ((leader, " leader "), (worker, " worker ")):
        [container] = pod["spec"]["containers"]
        assert container["image"] == "docker.io/vllm/vllm-openai:v0.8.5.post1" and subcommand in container["command"][2]
        # What the group's commands read, and the controller's webhook adds.
        given = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert given["LWS_GROUP_SIZE"] == "2" and given["LWS_LEADER_ADDRESS"].startswith("zig-ai-shard-0.zig-ai-shard.")
        assert pod["status"]["qosClass"] == "Guaranteed"
    assert_each_setting_is_where_explain_says(prod, "prod")
    assert "azure-native:redisenterprise:" not in prod.layout.azure.read_text()


def test_other_weights_replace_the_old_ones_objects_and_roll_the_shards(stacks):
    """None of them could be changed in place; and the Job that is done is not run again for it."""
    dev = stacks["dev"]

    def standing():
        [shard] = running(dev.get("pods", "zig-ai"), "zig-ai-shard")
        [claim] = [v["persistentVolumeClaim"]["claimName"] for v in shard["spec"]["volumes"] if v["name"] == "node-weights"]
        volumes = [item for item in dev.get("persistentvolumes") if "hostPath" in item["spec"]]
        return claim, [job["metadata"]["name"] for job in dev.get("jobs", "zig-ai")], [item["spec"]["hostPath"]["path"] for item in volumes]

    before = standing()
    file = dev.layout.project / "Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("llama-2-7b.Q8_0.gguf", "another.Q8_0.gguf"))
    outcome = dev.engine.up("other weights")
    assert not outcome.failed, outcome.errors
    after = standing()
    assert not [one for one, other in zip(before, after, strict=True) if one == other]
    assert [len(names) for names in after[1:]] == [1, 1]


@pytest.mark.parametrize("name", ["tag", "pod-range", "gpu-disk"])
def test_a_change_of_a_running_stack_becomes_what_it_must(stacks, name):
    """`make rehearse CHANGES=all` makes the others too."""
    dev = stacks["dev"]
    [change] = changes("dev", [name])
    outcome, wrong = Running(dev.engine, dev.layout, "dev").make(change)
    assert wrong is None, (wrong, outcome.errors, outcome.details)


def test_a_second_up_and_a_refresh_change_nothing_and_destroy_leaves_nothing(stacks):
    with ThreadPoolExecutor() as side_by_side:
        list(side_by_side.map(to_the_end, stacks.values()))


def assert_unchanged_by_a_second_up(stack):
    outcome = stack.engine.up("up again")
    assert not outcome.failed and not outcome.changed, (stack.layout.root.name, outcome.errors, outcome.details)
    assert_settled_by_a_refresh(stack)


def assert_settled_by_a_refresh(stack):
    wrong = refresh_and_settle(stack.engine, lambda outcome: outcome.failed and pytest.fail(f"{stack.layout.root.name}: {outcome.errors}"))
    assert wrong is None, (stack.layout.root.name, wrong.name, wrong.details)


def to_the_end(stack):
    assert_unchanged_by_a_second_up(stack)
    if stack.engine.protected():
        refused = stack.engine.destroy()
        assert refused.failed and "protect" in "".join(refused.errors)
        stack.engine.unprotect()
    outcome = stack.engine.destroy()
    assert not outcome.failed, (stack.layout.root.name, outcome.errors)
    assert stack.engine.resources() == []
    assert json.loads(stack.layout.azure.read_text())["resources"] == {}
    assert not stack.layout.kubeconfig.exists()
    assert processes.marked(stack.layout.root) == {}
