"""All of the Kubernetes side together: one provider, the right order, and objects that agree with one another."""

import copy
import re

import pytest

from infra.kubernetes import names, namespaces
from tests.infra.kubernetes.conftest import changed
from tests.infra.kubernetes.pod_security import violations

LWS = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
POD_OWNERS = {
    "kubernetes:apps/v1:Deployment": lambda spec: [spec["template"]],
    "kubernetes:apps/v1:DaemonSet": lambda spec: [spec["template"]],
    "kubernetes:batch/v1:Job": lambda spec: [spec["template"]],
    "kubernetes:batch/v1:CronJob": lambda spec: [spec["jobTemplate"]["spec"]["template"]],
    LWS: lambda spec: [part for name, part in spec["leaderWorkerTemplate"].items() if name in ("leaderTemplate", "workerTemplate")],
}


def pod_templates(deployed):
    """(namespace, owner, template) of everything that makes pods."""
    return [
        (resource.inputs["metadata"]["namespace"], resource.inputs["metadata"]["name"], template)
        for resource in deployed.recorder.resources
        if resource.type in POD_OWNERS
        for template in POD_OWNERS[resource.type](resource.inputs["spec"])
    ]


def test_every_object_goes_through_the_one_provider(each_stack):
    """A default provider would put an object into whatever cluster the operator's kubeconfig names."""
    for resource in each_stack.recorder.resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider and "::aks::" in resource.provider, f"{resource.type} {resource.name}: {resource.provider}"


def test_children_have_their_component_as_parent(each_stack):
    options = each_stack.recorder.options
    components = {r.name for r in each_stack.recorder.resources if r.type.startswith("zig-ai-aks:kubernetes:")}
    assert components == {name for (type_, name), o in options.items() if type_.startswith("zig-ai-aks:") and not o.parent}
    alone = {name for (type_, name), option in options.items() if type_.startswith("kubernetes:") and not option.parent}
    assert alone == {"zig-ai-serving", "zig-ai-batch", "nvidia-device-plugin", "profiling-config", "lws", "lws-budget"}


def test_component_tokens_follow_one_pattern(each_stack):
    for resource in each_stack.recorder.resources:
        if not resource.type.startswith(("kubernetes:", "pulumi:", "test:")):
            assert re.fullmatch(r"zig-ai-aks:kubernetes:[A-Z][A-Za-z]+", resource.type)


def test_shards_wait_for_what_makes_them_placeable(each_stack):
    """Without these, the first deployment waits for pods that no node can take, or is refused by a webhook that is not there."""
    needed = each_stack.recorder.options_of("zig-ai-aks:kubernetes:Shards").depends_on
    assert {"lws", "node-tuning", "nvidia-device-plugin", "zig-ai", "zig-ai-serving", "profiling-config", "zig-ai-weights-claim"} <= needed
    for agent in (("kubernetes:apps/v1:DaemonSet", "nvidia-device-plugin"), ("zig-ai-aks:kubernetes:NodeTuning", "node-tuning")):
        assert "gpu-pool" in each_stack.recorder.options_of(*agent).depends_on


def test_servers_wait_for_what_they_open_at_their_start(each_stack):
    """Redis takes a quarter of an hour; a coordinator that crashes until then outlasts the wait for it."""
    for type_ in ("zig-ai-aks:kubernetes:Coordinator", "zig-ai-aks:kubernetes:Shards"):
        assert "redis" in each_stack.recorder.options_of(type_).depends_on


def test_no_pod_is_up_before_the_network_policies(each_stack):
    denied = {f"{namespace}-default-deny" for namespace in namespaces.LEVELS}
    for (type_, name), option in each_stack.recorder.options.items():
        if type_ in {
            "zig-ai-aks:kubernetes:Coordinator",
            "zig-ai-aks:kubernetes:Shards",
            "zig-ai-aks:kubernetes:Prometheus",
            "kubernetes:helm.sh/v4:Chart",
        }:
            assert denied <= option.depends_on, name


def test_every_namespace_is_made_here_and_before_its_objects(each_stack):
    for resource in each_stack.recorder.resources:
        namespace = resource.inputs.get("metadata", {}).get("namespace")
        if namespace:
            assert namespace in namespaces.LEVELS, resource.name
            top = resource
            while parent := each_stack.recorder.options[(top.type, top.name)].parent:
                top = next(r for r in each_stack.recorder.resources if r.name == parent and r.type.startswith("zig-ai-aks:"))
            assert namespace in each_stack.recorder.options[(top.type, top.name)].depends_on, resource.name


def test_every_pod_conforms_to_the_level_of_its_namespace(each_stack):
    for namespace, owner, template in pod_templates(each_stack):
        assert violations(template["spec"], namespaces.LEVELS[namespace]) == [], owner


def test_only_node_agents_are_privileged(each_stack):
    assert [n for n, level in namespaces.LEVELS.items() if level != "restricted"] == [names.NODE_AGENTS_NAMESPACE]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hostPID": True}, "hostPID"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "volume host: hostPath"),
        ({"securityContext": {"runAsNonRoot": True}}, "shard: seccompProfile"),
    ],
)
def test_the_check_itself_finds_what_is_forbidden(deployed, change, says):
    spec, *_ = [copy.deepcopy(template["spec"]) for _, owner, template in pod_templates(deployed) if owner == names.SHARD]
    assert says in violations(spec | change, "restricted")


def added(owner):
    """Labels that no template has: the LeaderWorkerSet controller marks a pipeline's first shard."""
    return names.LEADER_LABEL if owner == names.SHARD else {}


def test_selectors_find_the_pods_of_their_own_owner_only(each_stack):
    """A selector shared by two workloads would have a Service send requests, or a budget count pods, of the other."""
    templates = pod_templates(each_stack)
    for resource in each_stack.recorder.resources:
        spec = resource.inputs.get("spec", {})
        selector = spec.get("selector")
        if resource.name == "lws-budget":  # the chart makes its pods; a rehearsal sees them
            continue
        if resource.type.startswith("kubernetes:") and isinstance(selector, dict):
            labels = selector.get("matchLabels", selector)
            namespace = resource.inputs["metadata"]["namespace"]
            found = {
                owner
                for place, owner, template in templates
                if place == namespace and labels.items() <= (template["metadata"]["labels"] | added(owner)).items()
            }
            assert len(found) == 1, f"{resource.type} {resource.name}: {found}"


def test_what_pods_name_exists(each_stack):
    """ConfigMaps, claims, service accounts and priority classes are named as text: nothing else would notice a wrong one."""
    have = {
        (r.type.rsplit(":", 1)[1], r.inputs["metadata"].get("namespace"), r.inputs["metadata"]["name"])
        for r in each_stack.recorder.resources
        if "metadata" in r.inputs
    }
    for namespace, owner, template in pod_templates(each_stack):
        spec = template["spec"]
        wanted = [("ConfigMap", namespace, volume["configMap"]["name"]) for volume in spec["volumes"] if "configMap" in volume]
        wanted += [
            ("PersistentVolumeClaim", namespace, v["persistentVolumeClaim"]["claimName"])
            for v in spec["volumes"]
            if "persistentVolumeClaim" in v
        ]
        wanted += [("ServiceAccount", namespace, spec["serviceAccountName"])] if "serviceAccountName" in spec else []
        wanted += [("PriorityClass", None, c) for c in [spec.get("priorityClassName")] if c and not c.startswith("system-")]
        for one in wanted:
            assert one in have, f"{owner}: {one}"


def test_mounts_and_volumes_agree(each_stack):
    for _, owner, template in pod_templates(each_stack):
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        spec = template["spec"]
        mounts = {
            mount["name"] for container in (*spec.get("initContainers", []), *spec["containers"]) for mount in container["volumeMounts"]
        }
        # A persistent cache is a claim template of the set, not a volume of the pod.
        assert {name for name in mounts - volumes if not name.startswith("cache-")} == set(), owner
        assert volumes <= mounts, owner


def test_tokens_of_the_api_server_are_mounted_only_where_used(each_stack):
    mounted = {
        owner for _, owner, template in pod_templates(each_stack) if template["spec"].get("automountServiceAccountToken") is not False
    }
    assert mounted == ({names.PROMETHEUS} if each_stack.settings.monitoring.enabled else set())


def test_identity_is_on_both_the_account_and_the_pods(each_stack):
    """Workload identity needs the annotation here and the label there; with one of them the pod has no token and says nothing."""
    templates = {template["spec"].get("serviceAccountName"): template for _, _, template in pod_templates(each_stack)}
    clients = {names.COORDINATOR: "client of coordinator", names.SHARD: "client of shard"}
    if each_stack.settings.model.source:
        clients |= {names.WEIGHTS_FETCH: "client of fetch", names.WEIGHTS_COPY: "client of copy"}
    for name, client in clients.items():
        account = each_stack.inputs("kubernetes:core/v1:ServiceAccount", name)
        assert account["metadata"]["annotations"] == {"azure.workload.identity/client-id": client}
        assert templates[name]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
        assert templates[name]["spec"]["serviceAccountName"] == name


def test_weights_are_fetched_before_a_shard_is_told_of_them(each_stack):
    needed = each_stack.recorder.options_of("zig-ai-aks:kubernetes:Shards").depends_on
    assert ("zig-ai-weights-fetch" in needed) is (each_stack.settings.model.source is not None)


def test_no_secret_is_rendered_anywhere(each_stack):
    assert each_stack.recorder.all("kubernetes:core/v1:Secret") == []


def test_images_have_fixed_versions(each_stack):
    for _, owner, template in pod_templates(each_stack):
        for container in template["spec"]["containers"]:
            assert re.search(r":[^/:]+$|@sha256:", container["image"]) and not container["image"].endswith(":latest"), owner


def test_without_monitoring_nothing_is_scraped(deploy, prod):
    deployed = deploy(changed(prod, "monitoring", enabled=False))
    made = {resource.name for resource in deployed.recorder.resources}
    assert not made & {"prometheus", "dcgm-exporter", "monitoring-prometheus"}
    for policy in deployed.recorder.all("kubernetes:networking.k8s.io/v1:NetworkPolicy"):
        assert names.PROMETHEUS not in str(policy.inputs["spec"]), policy.name


def test_endpoint_is_the_balancers_address(deploy, prod, monkeypatch):
    from tests import mocks

    status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    monkeypatch.setitem(mocks.COMPUTED, "kubernetes:core/v1:Service", status)
    assert deploy(prod).endpoint == "http://203.0.113.9:8080"


def test_endpoint_without_a_balancer_is_a_name_in_the_cluster(deploy, prod):
    service = prod.coordinator.service.model_copy(update={"type": "ClusterIP"})
    assert (
        deploy(changed(prod, "coordinator", service=service)).endpoint == "http://zig-ai-coordinator-service.zig-ai.svc.cluster.local:8080"
    )
