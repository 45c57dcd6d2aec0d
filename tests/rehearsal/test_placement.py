"""Where the planner says pods go, and where the real scheduler puts them: `sizing.mode: verbatim`, which may ask for too much.

Nodes are the stand-in's, as they are once the device plugin and node tuning have run; pods ask for what the plan says. The fitted
stacks are compared where they run, in test_stacks.py.
"""

import copy
import re
import time

import pytest

from infra.kubernetes import coordinator, leader_worker_set, names, pods, zones
from planner import plan
from planner.catalogue import node_agents
from rehearsal.azure.nodes import node_manifests
from rehearsal.cluster import control_plane
from rehearsal.cluster.api import Api, is_ready
from rehearsal.layout import MARK, Layout
from settings import files
from settings.flatten import with_values

pytestmark = pytest.mark.process

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
REQUESTS, LIMITS = ("shard", "resources", "requests"), ("shard", "resources", "limits")
LWS = "leaderworkerset.sigs.k8s.io"
EIGHT = {(*REQUESTS, "cpu"): "8", (*LIMITS, "cpu"): "8"}
NO_HUGE_PAGES = {("shard", "config", "useHugePages"): False}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A control plane without nodes."""
    layout = Layout(tmp_path_factory.mktemp("placement"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(layout.root))
        control_plane.start(layout, name="placement", version=None, addons=frozenset())
        try:
            api = Api(layout)
            until(lambda: api.quietly("GET", "/api/v1/namespaces/default/serviceaccounts/default"))
            yield api
        finally:
            control_plane.stop(layout)


def until(done, seconds=30):
    """Waits until `done` returns a true value, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def planned(changes):
    """The guide's prod stack, verbatim but for these changes."""
    asked = files.from_file(files.stack_file_path("prod"), "prod").require()
    return plan(with_values(asked, {("sizing", "mode"): "verbatim"} | changes))


def nodes(made):
    """The plan's nodes as the stand-in makes them, with what our agents bring: GPUs, huge pages, the label that says so."""
    settings = made.settings
    pages_mib = 2 * settings.node_tuning.huge_pages_2mi
    for number, pool in enumerate(made.gpu_pools):
        inputs = {
            "vmSize": pool.size.name,
            "count": pool.nodes,
            "availabilityZones": list(pool.zones),
            "nodeLabels": names.GPU_NODE_LABEL | names.huge_pages_node_label(settings.node_tuning.huge_pages_2mi),
            "nodeTaints": [f"{names.GPU_TAINT}=true:NoSchedule"],
        }
        version = control_plane.kubernetes_version()
        for node in node_manifests(f"gpu{number}", inputs, cluster_id="id", region="eastus", node_group="nodes", version=version):
            status = copy.deepcopy(node["status"])
            for side in (status["capacity"], status["allocatable"]):
                side |= {"nvidia.com/gpu": str(pool.size.gpus), "hugepages-2Mi": f"{pages_mib}Mi"}
            memory_mib = int(status["allocatable"]["memory"].removesuffix("Mi"))
            status["allocatable"]["memory"] = f"{memory_mib - pages_mib}Mi"
            yield node | {"status": status}


def pod(name, spec, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def container(requests, limits):
    return [{"name": "main", "image": "none", "resources": {"requests": requests, "limits": limits}}]


def agents(made, node):
    """A pod that stands for everything on a GPU node that is not in this cluster."""
    asked = node_agents.requests(monitoring=made.settings.monitoring.enabled, weights_copy=made.weights.on_node).as_kubernetes
    name = node["metadata"]["name"]
    return pod(f"agents-{name}", {"nodeName": name, "tolerations": [{"operator": "Exists"}], "containers": container(asked, {})})


def shard(made, placed):
    settings = made.settings
    in_order = tuple(f"eastus-{zone}" for zone in settings.gpu_pool.zones) if made.pipeline_in_one_zone else ()
    spec = {
        "nodeSelector": made.pod.node_selector | names.GPU_NODE_LABEL,
        "tolerations": pods.gpu_tolerations(settings.gpu_pool.spot),
        "topologySpreadConstraints": zones.spread_constraints(settings.shard.topology_spread_constraints, in_order),
        "affinity": zones.affinity(len(made.shards), in_order),
        "containers": container(made.pod.requests, made.pod.limits),
    }
    # As the LeaderWorkerSet controller marks them.
    place = {f"{LWS}/group-index": str(placed.pipeline), f"{LWS}/worker-index": str(placed.stage)}
    return pod(f"shard-{placed.pipeline}-{placed.stage}", spec, labels=names.selector(names.SHARD) | place)


def with_nodes(api, made):
    """The cluster once the plan's nodes are there."""
    for manifest in nodes(made):
        api.call("POST", NODES, manifest)
    until(lambda: all(is_ready(node) and not untolerated(node) for node in api.call("GET", NODES)["items"]))
    for node in api.call("GET", NODES)["items"]:
        api.call("POST", PODS, agents(made, node))


def scheduled(api, made):
    """The shards as the scheduler leaves them, in the plan's order."""
    with_nodes(api, made)
    for placed in made.pods:
        api.call("POST", PODS, shard(made, placed))
        until(lambda placed=placed: decision(at(api, placed)))
    return [at(api, placed) for placed in made.pods]


def at(api, placed):
    return api.call("GET", f"{PODS}/shard-{placed.pipeline}-{placed.stage}")


def untolerated(node):
    return [taint for taint in node["spec"].get("taints") or [] if taint["key"] != names.GPU_TAINT]


def decision(found):
    """The scheduler's: its condition of the pod."""
    return next((item for item in found["status"].get("conditions") or [] if item["type"] == "PodScheduled"), None)


def reasons(found):
    """Why the nodes do not take a pod, without how many; what preemption would bring comes after."""
    message = decision(found)["message"].partition("preemption:")[0]
    return set(re.findall(r"\d+ (Insufficient [\w./-]*\w|node\(s\) [^,.]+)", message))


@pytest.fixture
def empty(cluster):
    yield cluster
    for path in (PODS, NODES):
        for item in cluster.call("GET", path)["items"]:
            cluster.quietly("DELETE", f"{path}/{item['metadata']['name']}", {"gracePeriodSeconds": 0})
    until(lambda: not cluster.call("GET", PODS)["items"] + cluster.call("GET", NODES)["items"])


def two_nodes_with(cpu):
    return {(*REQUESTS, "cpu"): cpu, (*LIMITS, "cpu"): cpu, ("gpuPool", "maxNodes"): 2, ("gpuPool", "zones"): []}


CASES = {
    "the guide's pods on as many nodes as they need": {},
    "on two nodes": {("gpuPool", "maxNodes"): 2},
    "two a node, in zones with two nodes and one": EIGHT | {("gpuPool", "maxNodes"): 3, ("gpuPool", "zones"): ["1", "2"]},
    "in two of three zones": EIGHT | {("gpuPool", "maxNodes"): 2},
    "memory, without huge pages": NO_HUGE_PAGES | {(*REQUESTS, "cpu"): "1", (*REQUESTS, "memory"): "128Gi", ("gpuPool", "maxNodes"): 2},
    # The planner and the stand-in reckon AKS's reservations each by itself; here they must agree to the last unit.
    "all the CPU there is": two_nodes_with(cpu="11520m"),
    "a millicore more than there is": two_nodes_with(cpu="11521m"),
    "cpu and memory": {(*REQUESTS, "memory"): "256Gi", (*LIMITS, "memory"): "448Gi", ("gpuPool", "maxNodes"): 3},
}


@pytest.mark.parametrize("case", CASES)
def test_the_scheduler_does_what_the_plan_says(empty, case):
    made = planned(CASES[case])
    found = scheduled(empty, made)
    assert [item["spec"].get("nodeName") is None for item in found] == [placed.node is None for placed in made.pods]
    for item, placed in zip(found, made.pods, strict=True):
        if placed.node is None:
            assert reasons(item) == set(placed.pending_because), decision(item)["message"]
    assert counted(item["spec"].get("nodeName") for item in found) == counted(placed.node for placed in made.pods)


def counted(places):
    """Pods a node, sorted; the nodes' names are nobody's business."""
    there = [place for place in places if place is not None]
    return sorted(there.count(place) for place in set(there))


def test_the_cases_differ():
    """All pods placed, some Pending for one reason, some for several: a comparison of empty lists would prove nothing."""
    made = {case: planned(changes).pods for case, changes in CASES.items()}
    because = {frozenset(reason for placed in pods_of for reason in placed.pending_because) for pods_of in made.values()}
    assert len(because) == 5, because
    assert counted(p.node for p in made["all the CPU there is"]) == [2, 2]
    assert counted(p.node for p in made["a millicore more than there is"]) == [1, 1]


KEPT_APART = {
    "coordinators": (names.selector(names.COORDINATOR), {"topologySpreadConstraints": coordinator.spread_constraints(2, 2)}),
    "controllers": (leader_worker_set.PODS, {"affinity": leader_worker_set.affinity(2)}),
}


@pytest.mark.parametrize("who", KEPT_APART)
def test_the_second_of_two_waits_for_the_second_node(empty, who):
    """One of two system nodes is drained and comes back. Had both been placed on the other one, they would stay there and die with it."""
    labels, spec = KEPT_APART[who]

    def replica(name, revision):
        made = pod(name, spec | {"containers": container({}, {})}, labels=labels | {"pod-template-hash": revision})
        empty.call("POST", PODS, made)
        return until(lambda: decision(empty.call("GET", f"{PODS}/{name}")))["status"]

    def places(*pods):
        return [empty.call("GET", f"{PODS}/{name}")["spec"].get("nodeName") for name in pods]

    version = control_plane.kubernetes_version()
    pools = {"system": {"count": 2}, "gpu": {"count": 1, "nodeTaints": [f"{names.GPU_TAINT}=true:NoSchedule"]}}
    for name, pool in pools.items():
        inputs = {"vmSize": "Standard_D8ds_v5", "availabilityZones": ["1", "2"]} | pool
        for node in node_manifests(name, inputs, cluster_id="id", region="eastus", node_group="nodes", version=version):
            empty.call("POST", NODES, node)
    until(lambda: all(is_ready(node) and not untolerated(node) for node in empty.call("GET", NODES)["items"]))
    drained = next(node["metadata"]["name"] for node in empty.call("GET", NODES)["items"] if "-system-" in node["metadata"]["name"])
    empty.call("PATCH", f"{NODES}/{drained}", {"spec": {"unschedulable": True}})
    assert [replica("old-0", "old"), replica("old-1", "old")] == ["True", "False"]
    empty.call("PATCH", f"{NODES}/{drained}", {"spec": {"unschedulable": False}})
    until(lambda: None not in places("old-0", "old-1"))
    assert len(set(places("old-0", "old-1"))) == 2
    # An update needs no third node.
    assert [replica("new-0", "new"), replica("new-1", "new")] == ["True", "True"]
    assert set(places("new-0", "new-1")) == set(places("old-0", "old-1"))


def leaders_first(placed):
    return placed.stage > 0, placed.pipeline, placed.stage


def workers_first(placed):
    """A leader has to wait for room, and the scheduler tries the others in the meantime."""
    return placed.stage == 0, -placed.pipeline, placed.stage


@pytest.mark.parametrize("order", [leaders_first, workers_first])
@pytest.mark.parametrize("pipelines", [3, 4])
def test_each_pipeline_is_whole_in_the_zone_that_the_plan_gives_it(empty, pipelines, order):
    """With four pipelines the first zone has room for two, and the others for none more than one: a leader in the wrong zone, or a
    worker that comes before its leader, and two pipelines wait for each other for ever."""
    made = planned({("sizing", "mode"): "fitted", ("sharding", "pipelines"): pipelines})
    with_nodes(empty, made)
    for placed in sorted(made.pods, key=order):
        empty.call("POST", PODS, shard(made, placed))
    zone_of = {node["metadata"]["name"]: node["metadata"]["labels"][zones.ZONE] for node in empty.call("GET", NODES)["items"]}
    until(lambda: all(at(empty, placed)["spec"].get("nodeName") for placed in made.pods))
    found = {}
    for placed in made.pods:
        found.setdefault(placed.pipeline, set()).add(zone_of[at(empty, placed)["spec"]["nodeName"]])
    assert sorted(map(sorted, found.values())) == [[f"eastus-{zone}"] for zone in "1123"[4 - pipelines :]]
