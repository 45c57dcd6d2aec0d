"""The LeaderWorkerSet controller, by its chart."""

import pytest

from tests.infra.kubernetes.conftest import changed

CHART = "kubernetes:helm.sh/v4:Chart"


def test_the_chart_keeps_the_names_that_its_controller_looks_for(deployed):
    """With another release name, `lws-webhook-service` would point at pods that no longer match."""
    chart = deployed.recorder.one(CHART).inputs
    assert (chart["name"], chart["namespace"]) == ("lws", "lws-system")
    assert chart["values"].keys().isdisjoint({"nameOverride", "fullnameOverride"})


def test_the_controllers_image_is_the_charts_version(deploy, prod):
    """The chart in the source tree says `main`."""
    chart = deploy(changed(prod, "cluster", leader_worker_set_version="0.8.1")).recorder.one(CHART).inputs
    assert chart["values"]["image"]["manager"]["tag"] == "v0.8.1"


@pytest.mark.parametrize(("chart", "version"), [("oci://registry.k8s.io/lws/charts/lws", "0.9.0"), ("/cache/lws/charts/lws", None)])
def test_a_folder_is_taken_as_it_is(deploy, prod, chart, version):
    found = deploy(changed(prod, "cluster", leader_worker_set_chart=chart)).recorder.one(CHART).inputs
    assert (found["chart"], found.get("version")) == (chart, version)


@pytest.mark.parametrize(("nodes", "how"), [(2, "required"), (1, "preferred")])
def test_its_two_pods_are_on_two_nodes_where_there_always_are_two(deploy, prod, nodes, how):
    """A node is emptied and comes back: the scheduler moves nothing to it, and the next node that dies may have both."""
    pool = prod.cluster.system_pool.model_copy(update={"min_nodes": nodes})
    chart = deploy(changed(prod, "cluster", system_pool=pool)).recorder.one(CHART).inputs
    assert list(chart["values"]["affinity"]["podAntiAffinity"]) == [f"{how}DuringSchedulingIgnoredDuringExecution"]


def test_a_drain_takes_one_of_them_at_a_time(deployed):
    budget = deployed.inputs("kubernetes:policy/v1:PodDisruptionBudget", "lws")
    assert budget["metadata"]["namespace"] == deployed.recorder.one(CHART).inputs["namespace"]
    assert budget["spec"]["maxUnavailable"] == 1


def test_its_pods_conform_to_the_restricted_level(deployed):
    """The chart itself leaves the seccomp profile out, and the namespace would refuse its pods."""
    assert deployed.recorder.one(CHART).inputs["values"]["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
