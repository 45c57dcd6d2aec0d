"""The shards' LeaderWorkerSet: one group a pipeline, alike pods, and a rollout when and only when something changed."""

import dataclasses

import pytest
import yaml

from infra.endpoints import leaders_dns_name, shard_dns_names
from infra.kubernetes import names
from infra.kubernetes.config_maps import config_map_name
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed, ray_groups, settings_of
from toolchain.cache import Cache

LWS = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"


def shard_set(deployed):
    return deployed.recorder.one(LWS)


def template(deployed):
    return shard_set(deployed).inputs["spec"]["leaderWorkerTemplate"]["workerTemplate"]


def container(deployed):
    [only] = template(deployed)["spec"]["containers"]
    return only


def test_dns_names_are_the_controllers():
    """Group G's pods are NAME-G and NAME-G-I under the headless Service NAME."""
    assert shard_dns_names(2, 2) == (
        "zig-ai-shard-0.zig-ai-shard.zig-ai.svc.cluster.local",
        "zig-ai-shard-0-1.zig-ai-shard.zig-ai.svc.cluster.local",
        "zig-ai-shard-1.zig-ai-shard.zig-ai.svc.cluster.local",
        "zig-ai-shard-1-1.zig-ai-shard.zig-ai.svc.cluster.local",
    )


def test_the_name_of_the_leaders_has_only_pods_that_are_ready_and_stay(deploy):
    """The controller's own Service publishes pods that load and pods that end: requests would go to both."""
    deployed = deploy(settings_of("dev"))
    spec = deployed.inputs("kubernetes:core/v1:Service", names.LEADERS)["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is False
    name = {"app.kubernetes.io/name": "zig-ai-shard"}
    assert spec["selector"] == name | {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
    assert name.items() <= template(deployed)["metadata"]["labels"].items()
    [port] = spec["ports"]
    assert port["targetPort"] in {one["name"] for one in container(deployed)["ports"]}
    assert leaders_dns_name() == f"{names.LEADERS}.{names.SERVICE_NAMESPACE}.svc.cluster.local"


def test_a_coordinator_that_knows_its_shards_needs_no_such_name(deployed):
    services = [service.inputs["metadata"]["name"] for service in deployed.recorder.all("kubernetes:core/v1:Service")]
    assert names.LEADERS not in services


def test_a_pod_that_ends_serves_on_within_its_grace(deploy):
    spec = template(deploy(settings_of("dev")))["spec"]
    [container] = spec["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == spec["terminationGracePeriodSeconds"] - 5


def test_one_group_of_eight(deployed):
    spec = shard_set(deployed).inputs["spec"]
    assert spec["replicas"] == 1
    assert spec["leaderWorkerTemplate"]["size"] == 8
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert spec["startupPolicy"] == "LeaderCreated"
    assert spec["rolloutStrategy"]["rollingUpdateConfiguration"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_a_leader_that_is_told_something_else_has_a_template_of_its_own(deployed):
    assert "leaderTemplate" not in shard_set(deployed).inputs["spec"]["leaderWorkerTemplate"]
    spec = shard_set(ray_groups()).inputs["spec"]
    group = spec["leaderWorkerTemplate"]
    assert (spec["replicas"], group["size"]) == (2, 2)
    [leader], [worker] = (group[name]["spec"]["containers"] for name in ("leaderTemplate", "workerTemplate"))
    assert " leader " in leader["command"][2] and leader["args"][0] == "serve"
    assert " worker " in worker["command"][2] and "args" not in worker
    assert leader["readinessProbe"]["httpGet"]["port"] == "http"
    assert worker["readinessProbe"]["tcpSocket"] == {"port": "raylet"}


def test_a_worker_is_placed_secured_and_equipped_like_its_leader():
    group = shard_set(ray_groups()).inputs["spec"]["leaderWorkerTemplate"]
    leader, worker = (group[name] for name in ("leaderTemplate", "workerTemplate"))
    assert leader["metadata"] == worker["metadata"]
    assert {k: v for k, v in leader["spec"].items() if k != "containers"} == {k: v for k, v in worker["spec"].items() if k != "containers"}
    own = {"command", "args", "ports", "startupProbe", "livenessProbe", "readinessProbe"}
    [of_leader], [of_worker] = leader["spec"]["containers"], worker["spec"]["containers"]
    assert {k: v for k, v in of_leader.items() if k not in own} == {k: v for k, v in of_worker.items() if k not in own}


def test_the_plans_resources_reach_the_pod(deployed):
    resources = container(deployed)["resources"]
    assert (resources["requests"], resources["limits"]) == (deployed.plan.pod.requests, deployed.plan.pod.limits)
    # Kubernetes refuses huge pages whose request and limit differ.
    assert resources["requests"]["hugepages-2Mi"] == resources["limits"]["hugepages-2Mi"] == "512Mi"


def test_pinned_shards_are_guaranteed_whole_cpus(deployed):
    """The static CPU manager gives CPUs of their own to no other pod, and says nothing."""
    resources = container(deployed)["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["requests"]["cpu"].isdecimal()


def test_the_guides_environment_reaches_the_pod_unchanged(deployed):
    environment = {variable["name"]: variable for variable in container(deployed)["env"]}
    for asked in deployed.settings.shard.env:
        assert environment[asked.name] == {"name": asked.name, "value": asked.value}
    assert len(container(deployed)["env"]) == len(environment), "a name twice: the API server keeps only the last"


def test_each_shard_learns_its_place_from_the_controllers_labels(deployed):
    environment = {variable["name"]: variable.get("valueFrom") for variable in container(deployed)["env"]}
    place = environment["SHARD_INDEX"]["fieldRef"]["fieldPath"], environment["PIPELINE_INDEX"]["fieldRef"]["fieldPath"]
    assert place == (
        "metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']",
        "metadata.labels['leaderworkerset.sigs.k8s.io/group-index']",
    )


def test_only_tuned_gpu_nodes_are_selected(deployed):
    selector = template(deployed)["spec"]["nodeSelector"]
    assert selector["zig-ai.io/gpu"] == "true"
    assert selector["zig-ai.io/huge-pages-2mi"] == "1024"
    assert selector["node.kubernetes.io/instance-type"] == "Standard_NC24s_v3"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in template(deployed)["spec"]["tolerations"]


def test_a_model_may_take_as_long_to_load_as_settings_say(deploy, prod):
    """Probes that kill a shard while it loads restart it for ever; a wait that ends sooner fails a healthy deployment."""
    deployed = deploy(changed(prod, "rollout", model_load_timeout=Duration("45m")))
    probe = container(deployed)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 45 * 60


def test_the_deployment_waits_for_the_pipelines(deployed):
    assert shard_set(deployed).inputs["metadata"]["annotations"]["pulumi.com/waitFor"] == "condition=Available"


def test_a_persistent_cache_survives_its_pod(deployed):
    group = shard_set(deployed).inputs["spec"]["leaderWorkerTemplate"]
    [claim] = group["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "32Gi"
    # Recreating a group deletes its workers' StatefulSet.
    assert set(group["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(deployed)["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == deployed.workload.shard.cache.path


def test_a_changed_claim_replaces_the_set(deployed):
    options = deployed.recorder.options_of(LWS)
    assert options.replace_on_changes == ["spec.leaderWorkerTemplate.volumeClaimTemplates"]
    assert options.delete_before_replace is True


def test_a_passing_cache_is_node_local(deploy, prod):
    l2_cache = prod.caching.l2_cache.model_copy(update={"persistent": False})
    deployed = deploy(changed(prod, "caching", l2_cache=l2_cache))
    assert "volumeClaimTemplates" not in shard_set(deployed).inputs["spec"]["leaderWorkerTemplate"]
    [volume] = [v for v in template(deployed)["spec"]["volumes"] if v["name"].startswith("cache-")]
    assert volume["emptyDir"] == {"sizeLimit": "32Gi"}


def test_a_changed_file_rolls_the_pods(deployed):
    server = deployed.workload.shard
    [file] = server.config_files
    other = dataclasses.replace(server, config_files=(dataclasses.replace(file, content=file.content + "#"),))
    assert config_map_name("x", server) != config_map_name("x", other)
    [volume] = [v for v in template(deployed)["spec"]["volumes"] if v["name"] == "config"]
    config = deployed.inputs("kubernetes:core/v1:ConfigMap", volume["configMap"]["name"])
    assert config["data"] == {"shard.yaml": file.content}
    assert config["immutable"] is True


def test_a_changed_profile_rolls_the_pods(deploy, deployed, prod):
    other = deploy(changed(prod, "profiling", memory=prod.profiling.memory.model_copy(update={"interval": Duration("2s")})))
    assert template(other)["metadata"]["annotations"] != template(deployed)["metadata"]["annotations"]


def test_nothing_rolls_when_only_the_coordinator_changes(deploy, deployed, prod):
    """A shard restart is a model load."""
    other = deploy(changed(prod, "coordinator", replicas=3))
    assert template(other) == template(deployed)


def test_huge_pages_are_mounted_only_when_used(deploy, deployed, prod):
    assert {"name": "huge-pages", "emptyDir": {"medium": "HugePages-2Mi"}} in template(deployed)["spec"]["volumes"]
    without = deploy(changed(prod, "shard", config=prod.shard.config.model_copy(update={"use_huge_pages": False})))
    assert "huge-pages" not in str(template(without)["spec"]["volumes"])


def test_a_budget_treats_a_pipeline_as_one(deployed):
    budget = deployed.inputs("kubernetes:policy/v1:PodDisruptionBudget", names.SHARD)["spec"]
    assert budget == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": names.selector(names.SHARD)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def test_spot_nodes_are_tolerated_only_when_asked(deploy, deployed, prod):
    taint = {"key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot", "effect": "NoSchedule"}
    assert taint not in template(deployed)["spec"]["tolerations"]
    assert taint in template(deploy(changed(prod, "gpu_pool", spot=True)))["spec"]["tolerations"]


def test_an_autoscaled_set_states_no_count(deploy, prod):
    """A stated count would undo the autoscaler's work at every update."""
    deployed = deploy(changed(prod, "autoscaling", enabled=True, min_pipelines=1, max_pipelines=3))
    assert "replicas" not in shard_set(deployed).inputs["spec"]
    scaler = deployed.recorder.one("kubernetes:keda.sh/v1alpha1:ScaledObject").inputs["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": names.SHARD}
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"], scaler["pollingInterval"]) == (1, 3, 15)
    [trigger] = scaler["triggers"]
    assert trigger["metadata"]["threshold"] == str(deployed.plan.scaling.requests_per_pipeline) == "32"
    assert trigger["metadata"]["query"] == deployed.workload.load_query
    down = scaler["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 360


@pytest.mark.process  # the CRD comes with the toolchain
def test_a_loaded_service_keeps_its_pipelines_while_prometheus_is_away(deploy, prod):
    """The field is that of the add-on's CRD; with KEDA's own default the planned number would run again, whatever the load."""
    deployed = deploy(changed(prod, "autoscaling", enabled=True))
    fallback = deployed.recorder.one("kubernetes:keda.sh/v1alpha1:ScaledObject").inputs["spec"]["fallback"]
    assert fallback == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}
    [crd] = (Cache.of_user().share / "keda" / "crd").glob("*scaledobjects.yaml")
    [version] = yaml.safe_load(crd.read_text())["spec"]["versions"]
    known = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["fallback"]["properties"]
    assert fallback.keys() <= known.keys() and fallback["behavior"] in known["behavior"]["enum"]


@pytest.mark.parametrize("version", ["1.35", "1.33.6", "1.9"])
def test_an_older_cluster_has_no_fallback_which_its_keda_would_shrink_a_loaded_service_by(version, deploy, prod):
    """AKS brings KEDA 2.17 with Kubernetes 1.35, whose operator ends on a fallback that keeps more pipelines than planned."""
    deployed = deploy(changed(changed(prod, "autoscaling", enabled=True), "cluster", kubernetes_version=version))
    assert "fallback" not in deployed.recorder.one("kubernetes:keda.sh/v1alpha1:ScaledObject").inputs["spec"]


def test_the_coordinator_knows_the_pipelines_that_an_autoscaler_may_add(deploy, prod):
    deployed = deploy(changed(prod, "autoscaling", enabled=True, max_pipelines=3))
    [file] = deployed.workload.coordinator.config_files
    assert "zig-ai-shard-2-7.zig-ai-shard.zig-ai.svc.cluster.local:50051" in file.content
    assert "zig-ai-shard-3." not in file.content


@pytest.mark.parametrize("type_", ["kubernetes:keda.sh/v1alpha1:ScaledObject"])
def test_no_autoscaler_unless_asked(deployed, type_):
    assert deployed.recorder.all(type_) == []
