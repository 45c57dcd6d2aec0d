"""A pipeline's shards in one zone, pipelines evenly over the zones; or what was asked, verbatim."""

import pytest

from infra.kubernetes import names, zones
from settings.platform import Sizing
from settings.shard import TopologySpreadConstraint
from tests.infra.kubernetes.conftest import changed
from tests.infra.kubernetes.test_shards import template

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
LEADERS = {"app.kubernetes.io/name": "zig-ai-shard", "leaderworkerset.sigs.k8s.io/worker-index": "0"}
SHARDS = {"app.kubernetes.io/name": "zig-ai-shard"}
EVENLY = {
    "maxSkew": 1,
    "topologyKey": ZONE,
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": LEADERS},
    "nodeTaintsPolicy": "Honor",
}


def constraint(key, when="DoNotSchedule", max_skew=1):
    return TopologySpreadConstraint(max_skew=max_skew, topology_key=key, when_unsatisfiable=when)


def verbatim(prod):
    return prod.model_copy(update={"sizing": Sizing(mode="verbatim")})


def test_the_guides_constraint_spreads_pipelines(deployed):
    """Over shards, as the guide has it, it would send each token through every zone."""
    assert template(deployed)["spec"]["topologySpreadConstraints"] == [EVENLY]


def test_verbatim_spreads_shards(deploy, prod):
    """The constraint that is pasted has no label selector, and so would count no pods."""
    spec = template(deploy(verbatim(prod)))["spec"]
    assert spec["topologySpreadConstraints"] == [
        {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": SHARDS}}
    ]
    assert "affinity" not in spec


def test_shards_follow_their_own_leader(deployed):
    """To any pod of the group, the first worker could choose a zone that the leader may not go to, and both would wait for ever."""
    [term] = template(deployed)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {
        "topologyKey": ZONE,
        "labelSelector": {"matchLabels": LEADERS},
        "matchLabelKeys": ["leaderworkerset.sigs.k8s.io/group-index"],
    }
    # What the pods carry by themselves; the controller adds the two others.
    assert SHARDS.items() <= template(deployed)["metadata"]["labels"].items()


def test_pipelines_take_the_zones_in_the_plans_order(deployed):
    preferred = template(deployed)["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    terms = [(term["weight"], term["preference"]["matchExpressions"]) for term in preferred]
    assert terms == [
        (weight, [{"key": ZONE, "operator": "In", "values": [f"eastus-{zone}"]}]) for weight, zone in ((100, "1"), (10, "2"), (1, "3"))
    ]


def test_a_pipeline_more_leaves_the_pods_of_the_others_alone(deploy, deployed, prod):
    """Pods whose template changes are restarted, and load their model again."""
    more = deploy(changed(prod, "sharding", pipelines=2))
    assert template(more)["spec"]["affinity"] == template(deployed)["spec"]["affinity"]
    assert template(more)["spec"]["topologySpreadConstraints"] == template(deployed)["spec"]["topologySpreadConstraints"]


def test_one_zone_needs_no_rule(deploy, prod):
    spec = template(deploy(changed(prod, "gpu_pool", zones=("2",))))["spec"]
    assert "affinity" not in spec
    [only] = spec["topologySpreadConstraints"]
    assert only["labelSelector"] == {"matchLabels": SHARDS}


def test_a_shard_that_is_a_whole_pipeline_follows_nobody():
    assert zones.affinity(1, ("eastus-1", "eastus-2")) is None
    assert zones.affinity(2, ("eastus-1", "eastus-2")) is not None
    assert zones.affinity(2, ()) is None


@pytest.mark.parametrize("asked", [(), (constraint(ZONE, max_skew=5),)])
def test_pipelines_are_spread_also_when_less_is_asked(asked):
    """Two leaders in a zone with room for one pipeline, and neither pipeline is ever whole."""
    assert zones.spread_constraints(asked, ("eastus-1", "eastus-2")) == [EVENLY]


def test_other_constraints_stay_as_written():
    made = zones.spread_constraints((constraint(HOST, max_skew=3), constraint(ZONE, "ScheduleAnyway", 2)), ("eastus-1", "eastus-2"))
    assert made == [
        EVENLY,
        {"maxSkew": 3, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": SHARDS}},
        {"maxSkew": 2, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": LEADERS}},
    ]


def test_no_two_constraints_say_the_same():
    """The API server refuses two of the same key and whenUnsatisfiable."""
    made = zones.spread_constraints((constraint(ZONE), constraint(ZONE, "ScheduleAnyway"), constraint(HOST)), ("eastus-1", "eastus-2"))
    pairs = [(item["topologyKey"], item["whenUnsatisfiable"]) for item in made]
    assert len(set(pairs)) == len(pairs) == 3


def test_leaders_are_told_apart_by_a_label_that_only_the_controller_sets(deployed):
    assert "leaderworkerset.sigs.k8s.io/worker-index" not in template(deployed)["metadata"]["labels"]
    assert names.selector(names.SHARD) == SHARDS
