"""Who may talk to whom: every pair of ends is tried against the rendered policies, by the API's own rules."""

import ipaddress

import pytest

from infra.kubernetes import names, namespaces
from settings.flatten import with_values
from tests.infra.kubernetes.conftest import LOCKS, changed, ray_groups, settings_of

POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"

# Pods by a short name: namespace and labels.
PODS = {
    "coordinator": ("zig-ai", names.labels(names.COORDINATOR, "coordinator")),
    "shard": ("zig-ai", names.labels(names.SHARD, "shard")),
    "load-test": ("zig-ai", names.labels(names.LOAD_TEST, "load-test")),
    "fetch": ("zig-ai", names.labels(names.WEIGHTS_FETCH, "weights")),
    "prometheus": ("monitoring", names.labels(names.PROMETHEUS, "monitoring")),
    "lws": ("lws-system", {"control-plane": "controller-manager", "app.kubernetes.io/name": "lws"}),
    "dcgm": ("zig-ai-node-agents", names.labels(names.GPU_METRICS, "node-agent")),
    "copy": ("zig-ai-node-agents", names.labels(names.WEIGHTS_COPY, "node-agent")),
    "device-plugin": ("zig-ai-node-agents", names.labels(names.DEVICE_PLUGIN, "node-agent")),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "keda": ("kube-system", {"app": "keda-operator"}),
    "stranger": ("default", {"app": "stranger"}),
}
ADDRESSES = {"redis": "10.64.8.4", "internet": "203.0.113.77", "vnet": "10.64.2.9", "office": "20.30.0.8"}
PORTS = {8080: "TCP", 8443: "TCP", 9090: "TCP", 50051: "TCP", 9400: "TCP", 9443: "TCP", 10000: "TCP", 443: "TCP", 53: "UDP", 22: "TCP"}


def selects(selector, labels):
    return selector.get("matchLabels", {}).items() <= labels.items()


def matches(peer, policy_namespace, end):
    if "ipBlock" in peer:
        # Cilium's reading: a block is for what is outside the cluster.
        return end in ADDRESSES and ipaddress.ip_address(ADDRESSES[end]) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if end not in PODS:
        return False
    namespace, labels = PODS[end]
    if "namespaceSelector" in peer:
        inside = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        inside = namespace == policy_namespace
    return inside and selects(peer.get("podSelector", {}), labels)


def opens(policies, direction, own, other, port):
    """Whether policies let `own`'s traffic with `other` through in that direction; an end outside has no policies."""
    if own not in PODS:
        return True
    namespace, labels = PODS[own]
    applying = [
        p
        for p in policies
        if p["metadata"]["namespace"] == namespace and selects(p["spec"]["podSelector"], labels) and direction in p["spec"]["policyTypes"]
    ]
    if not applying:
        return True
    peers = {"Ingress": "from", "Egress": "to"}[direction]
    return any(
        ("ports" not in rule or {"port": port, "protocol": PORTS[port]} in rule["ports"])
        and (peers not in rule or any(matches(peer, namespace, other) for peer in rule[peers]))
        for policy in applying
        for rule in policy["spec"].get(direction.lower(), [])
    )


def edges(deployed):
    policies = [resource.inputs for resource in deployed.recorder.all(POLICY)]
    ends = [*PODS, *ADDRESSES]
    ours = {end for end, (namespace, _) in PODS.items() if namespace in namespaces.LEVELS}
    return {
        (source, target, port)
        for source in ends
        for target in ends
        for port in PORTS
        if {source, target} & ours
        and source != target
        and opens(policies, "Egress", source, target, port)
        and opens(policies, "Ingress", target, source, port)
    } | {(end, end, port) for end in ours for port in PORTS if all(opens(policies, way, end, end, port) for way in ("Egress", "Ingress"))}


# HTTPS out has no address that is known beforehand: it may go anywhere that lets it in.
OUTSIDE = {"redis", "internet", "vnet", "office", "dns", "keda", "stranger"}
EXPECTED = {
    ("coordinator", "shard", 8080),
    ("coordinator", "shard", 50051),
    ("shard", "shard", 8080),
    ("shard", "shard", 50051),
    ("coordinator", "redis", 10000),
    *(("coordinator", end, 443) for end in OUTSIDE),
    ("load-test", "coordinator", 8080),
    ("vnet", "coordinator", 8080),
    ("redis", "coordinator", 8080),
    ("prometheus", "coordinator", 9090),
    ("prometheus", "shard", 9090),
    ("prometheus", "dcgm", 9400),
    *(("prometheus", end, 443) for end in OUTSIDE),
    *(("lws", end, 443) for end in OUTSIDE),
    *((end, "lws", 9443) for end in OUTSIDE),
    *((end, "dns", 53) for end in ("coordinator", "shard", "load-test", "fetch", "prometheus", "lws")),
}


def test_exactly_the_needed_edges_are_open(deployed):
    """One address of the network stands for the private endpoint, which is inside it and so may call like any other."""
    assert edges(deployed) == EXPECTED


def test_shards_that_are_whole_pipelines_talk_to_nobody(deploy):
    """llama-server answers, and is scraped, on one port."""
    found = {(source, target, port) for source, target, port in edges(deploy(settings_of("dev"))) if "shard" in (source, target)}
    assert found == {("coordinator", "shard", 8080), ("prometheus", "shard", 8080), ("shard", "dns", 53)}


def test_a_ray_group_is_open_to_itself_alone(monkeypatch):
    """On every port, as NCCL chooses its own; no other pipeline, and nobody else, reaches what would run their code."""
    shard = names.labels(names.SHARD, "shard")
    for pipeline, stage in (("0", "0"), ("0", "1"), ("1", "0")):
        place = {"leaderworkerset.sigs.k8s.io/group-index": pipeline, "leaderworkerset.sigs.k8s.io/worker-index": stage}
        monkeypatch.setitem(PODS, f"shard {pipeline}.{stage}", ("zig-ai", shard | place))
    monkeypatch.delitem(PODS, "shard")
    found = {edge for edge in edges(ray_groups()) if any(end.startswith("shard") for end in edge[:2])}
    whole = {(one, other, port) for one in ("shard 0.0", "shard 0.1") for other in ("shard 0.0", "shard 0.1") for port in PORTS}
    shards = {end for end in PODS if end.startswith("shard")}
    from_outside = {(source, end, 8080) for source in ("coordinator", "prometheus") for end in shards}
    assert found == whole | {("shard 1.0", "shard 1.0", port) for port in PORTS} | from_outside | {(end, "dns", 53) for end in shards}


def test_pipelines_that_may_come_have_their_policy(deploy, prod):
    """Those of an autoscaler, and those that a rollout adds before it takes others away."""
    scaled = changed(prod.model_copy(update={"engine": "vllm"}), "autoscaling", enabled=True, max_pipelines=3)
    made = deploy(changed(scaled, "rollout", max_surge_pipelines=1)).recorder.all(POLICY)
    found = [resource.inputs["metadata"]["name"] for resource in made if "pipeline" in resource.inputs["metadata"]["name"]]
    assert sorted(found) == [f"zig-ai-shard-pipeline-{number}" for number in range(4)]


def test_the_fetch_reaches_what_it_needs_and_nobody_reaches_it(deploy, deployed):
    """Hub, storage and Entra by HTTPS; without a source not even that."""
    found = {edge for edge in edges(deploy(settings_of("dev"))) if "fetch" in edge}
    assert found == {("fetch", "dns", 53), *(("fetch", end, 443) for end in OUTSIDE)}
    assert {edge for edge in edges(deployed) if "fetch" in edge} == {("fetch", "dns", 53)}


def test_a_nodes_copy_comes_from_the_storage_by_https_and_from_nowhere_else(deploy, deployed):
    found = {edge for edge in edges(deploy(settings_of("dev"))) if "copy" in edge}
    assert found == {("copy", "dns", 53), *(("copy", end, 443) for end in OUTSIDE)}
    assert {edge for edge in edges(deployed) if "copy" in edge} == set()


def test_a_public_service_is_open_to_its_ranges_alone(deploy, prod):
    found = edges(deploy(changed(prod, "exposure", public=True, allowed_ip_ranges=("20.30.0.0/24",))))
    assert {source for source, target, port in found if (target, port) == ("coordinator", 8080)} == {"office", "load-test"}


def test_an_internal_service_is_open_to_peered_networks_that_are_named(deploy, prod):
    found = edges(deploy(changed(prod, "exposure", allowed_ip_ranges=("20.30.0.0/24",))))
    assert {source for source, target, port in found if (target, port) == ("coordinator", 8080)} == {"office", "vnet", "redis", "load-test"}


def test_tls_is_open_to_who_plain_http_was_and_plain_http_is_not(deploy):
    dev = settings_of("dev")
    plain, locked = edges(deploy(dev)), edges(deploy(with_values(dev, LOCKS)))
    assert {source for source, target, port in locked if (target, port) == ("coordinator", 8443)} == {"load-test", "vnet", "redis"}
    moved = {(source, target, 8443 if (target, port) == ("coordinator", 8080) else port) for source, target, port in plain}
    assert locked == moved


def test_keda_may_ask_prometheus_only_when_it_has_to(deploy, prod, deployed):
    assert ("keda", "prometheus", 9090) not in edges(deployed)
    assert ("keda", "prometheus", 9090) in edges(deploy(changed(prod, "autoscaling", enabled=True)))


def test_without_redis_the_coordinator_goes_nowhere_outside(deploy, prod):
    l3_cache = prod.caching.l3_cache.model_copy(update={"enabled": False})
    found = edges(deploy(changed(prod, "caching", l3_cache=l3_cache)))
    assert {target for source, target, _ in found if source == "coordinator"} == {"shard", "dns"}


@pytest.mark.parametrize("namespace", namespaces.LEVELS)
def test_every_namespace_denies_first(deployed, namespace):
    [deny] = [
        p.inputs
        for p in deployed.recorder.all(POLICY)
        if (p.inputs["metadata"]["namespace"], p.inputs["metadata"]["name"]) == (namespace, "default-deny")
    ]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
