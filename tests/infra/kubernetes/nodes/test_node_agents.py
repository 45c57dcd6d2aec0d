"""What runs on every GPU node: device plugin, GPU metrics, node tuning."""

from pathlib import Path

import pytest

from infra.kubernetes import names
from infra.kubernetes.nodes import node_tuning
from planner.catalogue import node_agents
from settings.operations import NodeTuning
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed, settings_of

DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"


def pod(deployed, name):
    return deployed.inputs(DAEMON_SET, name)["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", [names.DEVICE_PLUGIN, names.GPU_METRICS, names.NODE_TUNING])
def test_agents_reach_every_gpu_node_and_no_other(deployed, name):
    spec = pod(deployed, name)
    assert spec["nodeSelector"] == {"zig-ai.io/gpu": "true"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["priorityClassName"] == "system-node-critical"


def plugin(deploy, prod, *, cpu_manager_policy, thread_pinning=True, **pool):
    """The plugin's container; with threads pinned, a fitted stack has the static policy."""
    config = prod.shard.config.model_copy(update={"thread_pinning": thread_pinning})
    settings = changed(changed(prod, "shard", config=config), "gpu_pool", cpu_manager_policy=cpu_manager_policy, **pool)
    [container] = pod(deploy(settings), names.DEVICE_PLUGIN)["containers"]
    return container


@pytest.mark.parametrize(("policy", "privileged"), [("static", True), ("none", None)])
def test_the_plugin_passes_devices_when_cpus_are_pinned(deploy, prod, policy, privileged):
    """With the static CPU manager, a container loses its GPU at the first rewrite of its cgroup otherwise."""
    container = plugin(deploy, prod, cpu_manager_policy=policy, thread_pinning=bool(privileged))
    assert container["securityContext"].get("privileged") is privileged
    assert (container["env"] == [{"name": "PASS_DEVICE_SPECS", "value": "true"}]) is bool(privileged)


@pytest.mark.parametrize("settings", ["prod", "dev"])
def test_every_container_of_a_node_that_is_not_privileged_has_a_seccomp_profile(deploy, prod, settings):
    """A privileged one ignores it."""
    unpinned = prod.shard.config.model_copy(update={"thread_pinning": False})
    asked = (
        changed(changed(prod, "shard", config=unpinned), "gpu_pool", cpu_manager_policy="none")
        if settings == "prod"
        else settings_of(settings)
    )
    containers = [one for r in deploy(asked).recorder.all(DAEMON_SET) for one in r.inputs["spec"]["template"]["spec"]["containers"]]
    confined = {
        one["name"]: one["securityContext"].get("seccompProfile") for one in containers if not one["securityContext"].get("privileged")
    }
    assert confined and set(map(str, confined.values())) == {"{'type': 'RuntimeDefault'}"}, confined


CUT = {"vm_size": "Standard_NC24ads_A100_v4", "mig": "MIG3g"}


@pytest.mark.parametrize("policy", ["static", "none"])
def test_the_plugin_counts_the_parts_of_cut_gpus(deploy, prod, policy):
    """Without the strategy it counts whole GPUs, which nobody may use; without the rest it does not see the parts."""
    container = plugin(deploy, prod, cpu_manager_policy=policy, thread_pinning=policy == "static", **CUT)
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment.items() >= {"MIG_STRATEGY": "single", "NVIDIA_MIG_MONITOR_DEVICES": "all"}.items()
    security = container["securityContext"]
    assert security.get("privileged") or security["capabilities"]["add"] == ["SYS_ADMIN"]
    # Kubernetes refuses such a pod.
    assert not (security.get("allowPrivilegeEscalation") is False and "add" in security["capabilities"])


def test_the_agents_ask_for_what_the_planner_subtracts(deployed):
    """More, and a shard that the planner placed would stay Pending."""
    expected = {
        names.DEVICE_PLUGIN: node_agents.DEVICE_PLUGIN,
        names.NODE_TUNING: node_agents.NODE_TUNING,
        names.GPU_METRICS: node_agents.GPU_METRICS,
    }
    asked = {name: pod(deployed, name)["containers"][0]["resources"]["requests"] for name in expected}
    assert asked == {name: agent.as_kubernetes for name, agent in expected.items()}
    ours = {r.inputs["metadata"]["name"] for r in deployed.recorder.all(DAEMON_SET)}
    assert ours == set(expected), "an agent that the planner does not know"


def test_gpu_metrics_are_as_fresh_as_they_are_scraped(deploy, prod):
    metrics = tuple(
        m.model_copy(update={"interval": Duration("5s")}) if m.name == "gpu_utilization" else m for m in prod.monitoring.metrics
    )
    [container] = pod(deploy(changed(prod, "monitoring", metrics=metrics)), names.GPU_METRICS)["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["DCGM_EXPORTER_INTERVAL"] == "5000"
    # A thread on each of 96 CPUs took the exporter over its memory limit on half of the 8-GPU nodes.
    assert environment["GOMAXPROCS"] == "2"


def test_the_exporter_reads_its_own_list_of_fields(deployed):
    [container] = pod(deployed, names.GPU_METRICS)["containers"]
    counters = deployed.inputs(CONFIG_MAP, "dcgm-exporter-counters")["data"]
    [mount] = [m for m in container["volumeMounts"] if m["name"] == "counters"]
    assert container["args"] == ["-f", f"{mount['mountPath']}/counters.csv"]
    fields = {line.split(",")[0] for line in counters["counters.csv"].splitlines()}
    known = (Path(__file__).parent / "dcgm_exporter_4.5.3-4.8.2.txt").read_text().split()
    assert deployed.settings.images.gpu_metrics.endswith(":4.5.3-4.8.2-distroless"), "the names are those of another release"
    assert fields <= set(known)
    assert "add" not in container["securityContext"]["capabilities"]


def test_the_guides_config_map_is_where_the_guide_says_and_is_what_runs(deployed):
    """A script in a ConfigMap that nothing runs changes nothing."""
    found = {
        r.inputs["metadata"]["namespace"]: r.inputs["data"]
        for r in deployed.recorder.all(CONFIG_MAP)
        if r.inputs["metadata"]["name"] == "hugepages-config"
    }
    assert found.keys() == {"zig-ai", "zig-ai-node-agents"}
    assert found["zig-ai"] == found["zig-ai-node-agents"]
    spec = pod(deployed, names.NODE_TUNING)
    [container] = spec["containers"]
    assert spec["volumes"] == [{"name": "script", "configMap": {"name": "hugepages-config"}}]
    assert f"{container['volumeMounts'][0]['mountPath']}/setup.sh" in container["command"][-1]
    for value in ("HUGE_PAGES_2MI:=1024", "THP:=always", "OVERCOMMIT_MEMORY:=1", "OVERCOMMIT_RATIO:=80"):
        assert value in found["zig-ai"]["setup.sh"]


def test_every_tuning_setting_reaches_the_script(deployed):
    [container] = pod(deployed, names.NODE_TUNING)["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment == {
        "HUGE_PAGES_2MI": "1024",
        "NODE_LABEL": "zig-ai.io/huge-pages-2mi=1024",
        "THP": "always",
        "OVERCOMMIT_MEMORY": "1",
        "OVERCOMMIT_RATIO": "80",
        "NODE_NAME": None,
    }


def test_the_label_that_nodes_get_is_the_one_that_shards_select(deploy, prod):
    deployed = deploy(changed(prod, "node_tuning", huge_pages_2mi=2048))
    [container] = pod(deployed, names.NODE_TUNING)["containers"]
    [label] = [variable["value"] for variable in container["env"] if variable["name"] == "NODE_LABEL"]
    shards = deployed.recorder.one("kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet").inputs["spec"]["leaderWorkerTemplate"]
    key, value = label.split("=")
    assert shards["workerTemplate"]["spec"]["nodeSelector"][key] == value == "2048"


def test_ready_means_tuned(deployed):
    [container] = pod(deployed, names.NODE_TUNING)["containers"]
    assert container["readinessProbe"]["exec"]["command"] == ["test", "-e", "/proc/1/root/run/zig-ai/node-tuned"]
    assert 'READY="$ROOT/run/zig-ai/node-tuned"' in node_tuning.SCRIPT.read_text()


def test_a_changed_script_restarts_the_agents(deploy, deployed, prod):
    def annotations(of):
        return of.inputs(DAEMON_SET, names.NODE_TUNING)["spec"]["template"]["metadata"]["annotations"]

    other = deploy(changed(prod, "node_tuning", transparent_huge_pages="madvise"))
    assert annotations(other) != annotations(deployed)


def test_the_script_fits_one_argument():
    """Linux takes at most 128 KiB in one argument, and that is how the script gets to the node."""
    assert len(node_tuning.setup_script(NodeTuning()).encode()) < 64 * 1024


def test_spot_nodes_get_their_agents(deploy, prod):
    deployed = deploy(changed(prod, "gpu_pool", spot=True))
    for name in (names.DEVICE_PLUGIN, names.GPU_METRICS, names.NODE_TUNING):
        assert {"kubernetes.azure.com/scalesetpriority", "nvidia.com/gpu"} == {t["key"] for t in pod(deployed, name)["tolerations"]}
