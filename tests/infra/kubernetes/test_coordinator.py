"""The coordinator and the Service by which clients reach it."""

import pytest

from infra.kubernetes import names
from settings.flatten import with_values
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import LOCKS, changed, deploy_settings, settings_of

PREFIX = "service.beta.kubernetes.io/azure-load-balancer-"


def service(deployed):
    return deployed.inputs("kubernetes:core/v1:Service", names.COORDINATOR_SERVICE)


def pod(deployed):
    return deployed.inputs("kubernetes:apps/v1:Deployment", names.COORDINATOR)["spec"]["template"]


def test_the_pasted_annotations_stay_and_the_effective_ones_are_added(deployed):
    assert service(deployed)["metadata"]["annotations"] == {
        f"{PREFIX}sku": "Standard",
        f"{PREFIX}mode": "Auto",
        f"{PREFIX}health-probe-interval": "5",
        f"{PREFIX}health-probe-num-of-probe": "2",
        f"{PREFIX}tcp-idle-timeout": "4",
        f"{PREFIX}internal": "true",
    }


def test_affinity_is_the_services_and_the_clients_address_is_kept(deployed):
    spec = service(deployed)["spec"]
    assert spec["type"] == "LoadBalancer"
    assert spec["sessionAffinity"] == "ClientIP"
    assert spec["externalTrafficPolicy"] == "Local"
    assert spec["ports"] == [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]


@pytest.mark.parametrize(("keep_alive", "minutes"), [("60s", "4"), ("10m", "11"), ("1h", "30")])
def test_the_balancer_gives_up_later_than_the_coordinator_within_azures_bounds(deploy, prod, keep_alive, minutes):
    config = prod.coordinator.config.model_copy(update={"keep_alive_timeout": Duration(keep_alive)})
    deployed = deploy(changed(prod, "coordinator", config=config))
    assert service(deployed)["metadata"]["annotations"][f"{PREFIX}tcp-idle-timeout"] == minutes


@pytest.mark.parametrize(("interval", "seconds"), [("1s", "5"), ("7s", "7"), ("5m", "59")])
def test_the_probe_interval_is_within_azures_bounds(deploy, prod, interval, seconds):
    """Azure refuses less than 5 s, and two probes in 120 s or more: the Service would never get its address."""
    config = prod.coordinator.config.model_copy(update={"health_check_interval": Duration(interval)})
    deployed = deploy(changed(prod, "coordinator", config=config))
    assert service(deployed)["metadata"]["annotations"][f"{PREFIX}health-probe-interval"] == seconds


def test_a_public_address_answers_the_allowed_ranges_only(deploy, prod):
    deployed = deploy(changed(prod, "exposure", public=True, allowed_ip_ranges=("20.30.0.0/24",)))
    assert service(deployed)["metadata"]["annotations"][f"{PREFIX}internal"] == "false"
    assert service(deployed)["spec"]["loadBalancerSourceRanges"] == ["20.30.0.0/24"]


def test_an_internal_address_answers_the_network_and_what_is_named(deploy, prod, deployed):
    """A named range alone would shut out the network's own clients: what is not in the list is dropped."""
    assert service(deployed)["spec"]["loadBalancerSourceRanges"] == ["10.64.0.0/16"]
    named = deploy(changed(prod, "exposure", allowed_ip_ranges=("20.30.0.0/24",)))
    assert service(named)["spec"]["loadBalancerSourceRanges"] == ["20.30.0.0/24", "10.64.0.0/16"]


def test_a_pasted_annotation_cannot_make_the_address_public(deploy, prod):
    """Exposure demands address ranges; an annotation would go around it."""
    pasted = prod.coordinator.service.model_copy(update={"annotations": {f"{PREFIX}internal": "false", f"{PREFIX}tcp-idle-timeout": "15"}})
    annotations = service(deploy(changed(prod, "coordinator", service=pasted)))["metadata"]["annotations"]
    assert annotations[f"{PREFIX}internal"] == "true"
    assert annotations[f"{PREFIX}tcp-idle-timeout"] == "15"


def test_without_a_balancer_there_is_nothing_of_it(deploy, prod):
    inside = prod.coordinator.service.model_copy(update={"type": "ClusterIP", "annotations": {}})
    found = service(deploy(changed(prod, "coordinator", service=inside)))
    assert found["metadata"]["annotations"] == {}
    assert not {"externalTrafficPolicy", "loadBalancerSourceRanges"} & found["spec"].keys()


def test_requests_in_flight_are_served_out(deployed):
    """The pod must serve on while the balancer notices, and still have time for what it has accepted."""
    spec = pod(deployed)["spec"]
    [container] = spec["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    annotations = service(deployed)["metadata"]["annotations"]
    noticed = int(annotations[f"{PREFIX}health-probe-interval"]) * int(annotations[f"{PREFIX}health-probe-num-of-probe"])
    assert noticed <= pause < spec["terminationGracePeriodSeconds"]


def test_the_first_level_cache_fits_its_memory(deployed):
    [container] = pod(deployed)["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "12Gi"}, "limits": {"memory": "12Gi"}}
    assert deployed.settings.caching.l1_cache.size.gib < 12


@pytest.mark.parametrize(("replicas", "strategy"), [(2, {"maxUnavailable": 1, "maxSurge": 0}), (1, {"maxUnavailable": 0, "maxSurge": 1})])
def test_a_rollout_needs_no_spare_node_and_never_takes_the_last(deploy, prod, replicas, strategy):
    deployed = deploy(changed(prod, "coordinator", replicas=replicas))
    assert deployed.inputs("kubernetes:apps/v1:Deployment", names.COORDINATOR)["spec"]["strategy"]["rollingUpdate"] == strategy


@pytest.fixture(scope="module")
def locked():
    return deploy_settings(with_values(settings_of("dev"), LOCKS))


def test_https_is_where_clients_expect_it(locked, deploy, prod):
    assert service(locked)["spec"]["ports"] == [{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}]
    [container] = pod(locked)["spec"]["containers"]
    assert {"name": "https", "containerPort": 8443, "protocol": "TCP"} in container["ports"]
    assert locked.endpoint == "https://zig-ai-coordinator-service.zig-ai.svc.cluster.local:443"
    probes = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")}
    assert {asked["port"] for asked in probes.values()} == {"metrics"}
    # One that cannot use its Secrets starts anew until it can; one that serves is not ended because a renewed Secret is broken.
    assert {probe: asked["path"] for probe, asked in probes.items()} == {"startup": "/ready", "readiness": "/ready", "liveness": "/live"}


def test_secrets_are_files_for_the_server_alone(locked):
    """In an environment variable, a changed key would need a restart, and every process of the pod could read it."""
    spec = pod(locked)["spec"]
    [container] = spec["containers"]
    secrets = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    assert {one["secretName"] for one in secrets.values()} == {"front-door", "clients", "keys"}
    assert {one["defaultMode"] for one in secrets.values()} == {0o440} and spec["securityContext"]["fsGroup"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    # The kubelet renews no file that is mounted by a subPath.
    assert all(mounts[name]["readOnly"] and "subPath" not in mounts[name] for name in secrets)
    assert not [variable for variable in container["env"] if "valueFrom" in variable]


@pytest.mark.parametrize(("replicas", "system_nodes", "how"), [(2, 2, "DoNotSchedule"), (2, 1, "ScheduleAnyway"), (1, 2, "ScheduleAnyway")])
def test_coordinators_are_on_several_nodes_for_certain_where_there_always_are_two(deploy, prod, replicas, system_nodes, how):
    """How the real scheduler takes it: tests/rehearsal/test_placement.py."""
    pool = prod.cluster.system_pool.model_copy(update={"min_nodes": system_nodes})
    settings = changed(changed(prod, "coordinator", replicas=replicas), "cluster", system_pool=pool)
    over_zones, over_nodes = pod(deploy(settings))["spec"]["topologySpreadConstraints"]
    assert over_zones["whenUnsatisfiable"] == "ScheduleAnyway"
    assert over_nodes["whenUnsatisfiable"] == how


def test_coordinators_spread_over_zones_and_nodes(deployed):
    keys = {constraint["topologyKey"] for constraint in pod(deployed)["spec"]["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def test_its_files_are_mounted_where_the_guide_says(deployed):
    [container] = pod(deployed)["spec"]["containers"]
    assert {"name": "config", "mountPath": "/app/config", "readOnly": True} in container["volumeMounts"]
    [volume] = [v for v in pod(deployed)["spec"]["volumes"] if v["name"] == "config"]
    assert "coordinator.yaml" in deployed.inputs("kubernetes:core/v1:ConfigMap", volume["configMap"]["name"])["data"]
