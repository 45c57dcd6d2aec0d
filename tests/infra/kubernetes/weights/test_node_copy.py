"""A node's own copy of the weights: where it is made, who may read what, and that a shard sees it whole or not at all."""

import pytest

from infra.kubernetes import names
from planner.catalogue import node_agents
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed, settings_of
from tests.infra.kubernetes.pod_security import violations
from tests.infra.kubernetes.weights.test_fetch_job import COMMIT, with_model

DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
VOLUME = "kubernetes:core/v1:PersistentVolume"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
SETS = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"


@pytest.fixture
def dev(deploy):
    return deploy(settings_of("dev"))


def agent(deployed):
    return deployed.inputs(DAEMON_SET, names.WEIGHTS_COPY)["spec"]


def shard(deployed):
    return deployed.recorder.one(SETS).inputs["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]


def without_copy(settings):
    return changed(settings, "caching", l2_cache=settings.caching.l2_cache.model_copy(update={"enabled": False}))


def test_it_runs_on_every_gpu_node_and_no_other(dev):
    spec = agent(dev)["template"]["spec"]
    assert spec["nodeSelector"] == {"zig-ai.io/gpu": "true"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["priorityClassName"] == "system-node-critical"


def test_it_asks_for_what_the_planner_subtracts(dev):
    spec = agent(dev)["template"]["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["resources"]["requests"] == node_agents.WEIGHTS_COPY.as_kubernetes


def test_a_shard_reads_the_copy_and_not_the_storage(dev):
    [container], volumes = shard(dev)["containers"], {volume["name"]: volume for volume in shard(dev)["volumes"]}
    folder = dev.plan.weights.folder
    assert [mount["mountPath"] for mount in container["volumeMounts"] if mount.get("readOnly")] == [f"/data/{folder}"]
    assert volumes["node-weights"]["persistentVolumeClaim"] == {
        "claimName": names.node_weights_claim(dev.plan.weights.folder),
        "readOnly": True,
    }
    assert "weights" not in volumes
    assert f"/data/{folder}/model.gguf" in container["args"]


def test_a_shard_starts_only_where_the_copy_is_complete(dev):
    """The kubelet mounts the folder, which has its name once it is complete; of another type it would make an empty one."""
    volume = dev.inputs(VOLUME, names.node_weights_claim(dev.plan.weights.folder))["spec"]
    [copy] = agent(dev)["template"]["spec"]["containers"]
    told = {variable["name"]: variable["value"] for variable in copy["env"]}
    assert volume["hostPath"] == {"path": f"{told['NODE_DISK']}/{told['FOLDER']}", "type": "Directory"}
    assert copy["readinessProbe"]["exec"]["command"] == ["test", "-d", volume["hostPath"]["path"]]
    assert "nodeAffinity" not in volume, "each node has its own at the same path"


def test_claim_and_volume_are_bound_to_each_other_and_hold_the_weights(dev):
    name = names.node_weights_claim(dev.plan.weights.folder)
    volume, claim = dev.inputs(VOLUME, name)["spec"], dev.inputs(CLAIM, name)
    assert volume["storageClassName"] == claim["spec"]["storageClassName"] == ""
    assert volume["claimRef"] == {"namespace": claim["metadata"]["namespace"], "name": name} and claim["spec"]["volumeName"] == name
    assert volume["accessModes"] == claim["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert volume["capacity"]["storage"] == "8Gi"
    # caching.l2Cache.size may change on a running stack, and a bound claim of such a volume may not.
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Mi"


def test_the_disk_is_at_the_path_that_is_copied_to(dev):
    spec = agent(dev)["template"]["spec"]
    [disk], [copy] = spec["initContainers"], spec["containers"]
    [folder] = [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume]
    [mounted] = [mount["mountPath"] for mount in copy["volumeMounts"] if mount["name"] == "disk"]
    assert disk["env"][0] == {"name": "WEIGHTS_DIR", "value": folder} and mounted == folder


def test_only_who_makes_the_disk_is_privileged(dev):
    """The copy stays for the life of the node, reads from the network and sees the node's processes: it could end root's as root."""
    spec = agent(dev)["template"]["spec"]
    [disk], [copy] = spec["initContainers"], spec["containers"]
    assert disk["securityContext"]["privileged"] is True
    assert violations({"containers": [copy]}, "restricted") == []
    assert disk["env"][1] == {"name": "OWNER", "value": f"{copy['securityContext']['runAsUser']:.0f}"}


def test_all_nodes_copy_at_once(dev):
    """One after another, the default, ten nodes would take ten times as long."""
    assert agent(dev)["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == "100%"


def test_shards_come_after_the_copy_and_the_copy_after_the_fetch(dev):
    options = dev.recorder.options_of
    assert "zig-ai-weights-copy" in options("zig-ai-aks:kubernetes:Shards").depends_on
    assert {"zig-ai-weights-fetch", "gpu-pool"} <= options("zig-ai-aks:kubernetes:WeightsCopy").depends_on


def test_other_weights_are_another_volume(deploy):
    """A volume's path cannot be changed, and the pods that are being replaced still read the old one."""
    source = f"hf://org/name@{COMMIT}/name.gguf"
    first, second = (deploy(with_model("dev", source=one)) for one in (source, source.replace("name.gguf", "other.gguf")))
    assert shard(first)["volumes"] != shard(second)["volumes"]


def test_the_copies_of_earlier_sources_go_when_the_stored_ones_do(deploy, dev):
    def told(deployed):
        return {variable["name"]: variable["value"] for variable in agent(deployed)["template"]["spec"]["containers"][0]["env"]}

    kept = deploy(changed(settings_of("dev"), "rollout", weights_retention=Duration("2d")))
    assert told(kept) == told(dev) | {"RETENTION_SECONDS": "172800"}


def test_switched_off_shards_read_the_storage(deploy):
    deployed = deploy(without_copy(settings_of("dev")))
    assert names.WEIGHTS_COPY not in {r.inputs.get("metadata", {}).get("name") for r in deployed.recorder.resources}
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "zig-ai-weights", "readOnly": True}} in shard(deployed)["volumes"]
    [container] = shard(deployed)["containers"]
    assert [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "weights"] == ["/data"]


def test_spot_nodes_get_it_too(deploy):
    deployed = deploy(changed(settings_of("dev"), "gpu_pool", spot=True))
    tolerated = {toleration["key"] for toleration in agent(deployed)["template"]["spec"]["tolerations"]}
    assert tolerated == {"kubernetes.azure.com/scalesetpriority", "nvidia.com/gpu"}
