"""Pods on nodes: never more than a node has, on the fewest nodes there can be, which brute force confirms on small cases."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from planner import plan
from planner.catalogue import hardware
from planner.catalogue.aks_reservations import Allocatable
from planner.fit.layout import layout, node_zones
from planner.fit.placement import (
    SPREAD_BROKEN,
    Spread,
    deal,
    fewest_nodes,
    node_room,
    offered_by,
    place,
    pods_per_node,
    requested_by,
    short_of,
)
from planner.fit.plan import ShardPodPlan
from settings import SettingsError
from settings.flatten import leaves, with_values
from tests.planner.stacks import GUIDE_SHARD, any_settings, settings, stack, verbatim

ZONES = st.sampled_from([(), ("1",), ("1", "2"), ("1", "2", "3")])


def pod_of(gpus=0, cpu=0, memory=0, pages=0):
    wanted = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}
    return ShardPodPlan(gpus=gpus, requests=wanted, limits=wanted, huge_pages_mib=pages, node_selector={})


def some(most):
    return st.integers(0, most)


@given(
    st.builds(pod_of, gpus=some(2), cpu=some(5), memory=some(5), pages=some(2)),
    st.builds(Allocatable, gpus=some(4), cpu_millicores=some(12), memory_mib=some(12), huge_pages_mib=some(4)),
)
def test_as_many_pods_as_fit_a_node_and_not_one_more(pod, room):
    assume(any(requested_by(pod).values()))
    count, tightest = pods_per_node(pod, room)
    offered = offered_by(room)
    assert all(count * asked <= offered[name] for name, asked in requested_by(pod).items())
    assert (count + 1) * requested_by(pod)[tightest] > offered[tightest]
    assert f"Insufficient {tightest}" in short_of(pod, room)


def can_place(pods, zones, per_node, max_skew):
    """Brute force: is there any number of pods for each node that breaks nothing?"""
    for counts in itertools.product(range(per_node + 1), repeat=len(zones)):
        by_zone = dict.fromkeys(zones, 0)
        for zone, count in zip(zones, counts, strict=True):
            by_zone[zone] += count
        if sum(counts) == pods and (max_skew is None or max(by_zone.values()) - min(by_zone.values()) <= max_skew):
            return True
    return False


@given(pods=st.integers(1, 7), zones=ZONES, per_node=st.integers(1, 4), max_skew=st.none() | st.integers(1, 2))
@examples(max_examples=150)
def test_fewest_nodes_are_those_of_brute_force(pods, zones, per_node, max_skew):
    fewest = next(nodes for nodes in itertools.count(1) if can_place(pods, deal(nodes, zones), per_node, max_skew))
    assert fewest_nodes(pods, zones, per_node, Spread(max_skew=max_skew)) == fewest


@given(pods=st.integers(1, 12), nodes=st.integers(1, 5), zones=ZONES, per_node=st.integers(1, 4), max_skew=st.none() | st.integers(1, 3))
def test_as_many_pods_run_as_can(pods, nodes, zones, per_node, max_skew):
    where = deal(nodes, zones)
    placed = place(1, pods, where, per_node, Spread(max_skew=max_skew), ("full",))
    running = [pod.node for pod in placed if pod.node is not None]
    assert all(running.count(node) <= per_node for node in running)
    assert all(bool(pod.pending_because) == (pod.node is None) for pod in placed)
    if len(running) < pods:
        assert not can_place(len(running) + 1, where, per_node, max_skew)


def test_pods_that_a_skew_keeps_out_are_said_to_be():
    """Zone 1 has two nodes, the others one each: ten pods use up the skew before zone 1 is full."""
    placed = place(1, 11, deal(4, ("1", "2", "3")), 3, Spread(max_skew=1), ("Insufficient cpu",))
    assert [pod.stage for pod in placed if pod.node is None] == [10]
    assert placed[10].pending_because == ("Insufficient cpu", SPREAD_BROKEN)


def fitted(settings):
    """The plan, or nothing where there can be none."""
    try:
        return plan(settings)
    except SettingsError:
        assume(False)


@given(any_settings())
@examples(max_examples=150)
def test_no_node_and_no_gpu_is_given_more_than_it_has(asked):
    made = fitted(asked)
    offered = offered_by(node_room(made.settings, made.size))
    zones = node_zones(made.gpu_pools)
    for node in range(made.nodes):
        there = [pod for pod in made.pods if pod.node == node]
        assert all(len(there) * wanted <= offered[name] for name, wanted in requested_by(made.pod).items())
    assert all(pod.node is not None for pod in made.pods)
    assert made.gpus_used == made.pod.gpus * len(made.pods) <= made.gpus_paid
    memory = made.memory.memory
    assert memory.free_gib >= -1e-6 and made.memory.short_gib <= 0
    if made.pipeline_in_one_zone:
        for pipeline in range(made.pipelines):
            assert len({zones[pod.node] for pod in made.pods if pod.pipeline == pipeline}) == 1


@given(any_settings())
@examples(max_examples=100)
def test_a_fitted_plan_refits_to_itself(asked):
    once = fitted(asked)
    twice = plan(once.settings)
    assert leaves(twice.settings) == leaves(once.settings)
    assert {finding.code for finding in twice.findings if finding.outcome == "adjusted"} == set()
    assert (twice.pods, twice.gpu_pools, twice.memory) == (once.pods, once.gpu_pools, once.memory)


@given(any_settings())
@examples(max_examples=100)
def test_pinned_shards_are_guaranteed_with_whole_cpus(asked):
    made = fitted(asked)
    if made.settings.shard.config.thread_pinning:
        assert made.pod.requests == made.pod.limits
        assert made.pod.requests["cpu"].isdecimal()
        threads = made.settings.shard.config
        assert threads.worker_threads <= int(made.pod.requests["cpu"])


@given(any_settings(), st.integers(0, 40), st.integers(0, 400))
@examples(max_examples=100)
def test_more_room_never_takes_more_nodes(asked, more_cpus, more_gib):
    made = fitted(asked)
    roomier = dataclasses.replace(made.size, vcpus=made.size.vcpus + more_cpus, ram_gib=made.size.ram_gib + more_gib)
    again = layout(made.settings, roomier)
    assert not isinstance(again, list) and again.nodes <= made.nodes


@given(any_settings())
@examples(max_examples=60)
def test_fitting_takes_no_more_nodes_than_asked_unless_it_must(asked):
    """Pods of more GPUs each may leave some of a node's idle: then fewer of them are taken, if they hold the model."""
    made = fitted(asked)
    as_written = layout(asked.model_copy(update={"sizing": asked.sizing.model_copy(update={"mode": "verbatim"})}), made.size)
    # Whole pipelines in each zone may need a node more in each; the rule for shards alone may not.
    comparable = not isinstance(as_written, list) and not as_written.pending and not made.pipeline_in_one_zone
    if comparable and made.nodes > as_written.nodes:
        others = [
            with_shards(asked, pods, gpus) for gpus in range(1, made.size.gpus + 1) for pods in range(1, total_gpus(asked) // gpus + 1)
        ]
        assert min(map(nodes_taken, others)) > as_written.nodes


def total_gpus(asked):
    return asked.sharding.shards_count * asked.shard.resources.limits.nvidia_gpu


def with_shards(asked, pods, gpus):
    resources = [("shard", "resources", side, "nvidia.com/gpu") for side in ("requests", "limits")]
    return with_values(asked, {("sharding", "shardsCount"): pods} | dict.fromkeys(resources, gpus))


def nodes_taken(asked):
    try:
        return plan(asked).nodes
    except SettingsError:
        return math.inf


def fewest_by_brute_force(made, gpus_of_a_node):
    """Nodes for whole pipelines in each zone, a node taking as many shards as it has GPUs for."""
    zones = [pool.zones for pool in made.gpu_pools]
    stages = len(made.shards)
    pipelines = [sum(index % len(zones) == zone for index in range(made.pipelines)) for zone in range(len(zones))]
    return sum(
        next(n for n in itertools.count(1) if can_place(count * stages, [""] * n, gpus_of_a_node // made.pod.gpus, None))
        for count in pipelines
    )


@pytest.mark.parametrize("zones", [[], ["1", "2", "3"]], ids=["no zones", "three zones"])
@pytest.mark.parametrize("pipelines", [1, 2, 3])
@pytest.mark.parametrize("shards", [2, 4, 5])
def test_the_fitted_plan_has_the_fewest_nodes(zones, pipelines, shards):
    asked = settings(
        model={"name": "llama-2-7b"}, sharding={"shardsCount": shards, "pipelines": pipelines}, gpuPool={"zones": zones}, caching=NO_REDIS
    )
    made = plan(asked)
    assert made.nodes == fewest_by_brute_force(made, hardware.gpu_size("Standard_NC24s_v3", "eastus").gpus)


NO_REDIS = {"l3Cache": {"enabled": False}}


def test_prod_runs_on_two_nodes_of_four_gpus_in_one_zone():
    made = plan(stack("prod"))
    assert (made.nodes, made.gpus_paid, made.gpus_used) == (2, 8, 8)
    assert [pool.zones for pool in made.gpu_pools] == [("1",)]
    assert sorted(pod.node for pod in made.pods) == [0] * 4 + [1] * 4
    [saving] = [finding for finding in made.findings if finding.code == "PLACE-002"]
    assert "8 nodes for 8 shards, where 2 do" in saving.because and "saves 73.44 USD an hour" in saving.because


def test_pipelines_are_dealt_to_the_zones():
    made = plan(settings(sharding={"shardsCount": 8, "pipelines": 4}))
    assert [(pool.zones, pool.nodes) for pool in made.gpu_pools] == [(("1",), 4), (("2",), 2), (("3",), 2)]
    zones = node_zones(made.gpu_pools)
    assert [{zones[pod.node] for pod in made.pods if pod.pipeline == pipeline} for pipeline in range(4)] == [{"1"}, {"2"}, {"3"}, {"1"}]


def test_bounds_are_shared_out_over_the_zones():
    made = plan(settings(sharding={"shardsCount": 8, "pipelines": 2}, gpuPool={"minNodes": 3, "maxNodes": 7}))
    assert [(pool.nodes, pool.min_nodes, pool.max_nodes) for pool in made.gpu_pools] == [(2, 2, 4), (2, 1, 3)]


def test_nodes_that_settings_keep_ready_are_kept():
    [pool] = plan(settings(gpuPool={"minNodes": 5})).gpu_pools
    assert (pool.nodes, pool.min_nodes, pool.max_nodes) == (5, 5, 5)


def test_verbatim_says_which_shards_stay_pending_and_why():
    made = plan(verbatim(gpuPool={"maxNodes": 3}))
    assert [pod.name for pod in made.pods if pod.node is None] == [f"zig-ai-shard-0-{index}" for index in range(3, 8)]
    assert {pod.pending_because for pod in made.pods if pod.node is None} == {("Insufficient cpu", "Insufficient hugepages-2Mi")}
    [finding] = [finding for finding in made.findings if finding.code == "PLACE-008"]
    assert finding.because == "5 of 8 shards stay Pending: Insufficient cpu, Insufficient hugepages-2Mi"
    assert "PLACE-008" not in {finding.code for finding in plan(verbatim()).findings}


def test_more_shards_than_gpus_is_refused_even_verbatim():
    with pytest.raises(SettingsError) as error:
        plan(verbatim(gpuPool={"maxNodes": 1}))
    assert "8 shards need 8 GPUs" in str(error.value) and "but 4 are allowed" in str(error.value)


def test_the_guides_shard_is_what_verbatim_asks_for():
    made = plan(verbatim())
    assert made.pod.requests == GUIDE_SHARD["resources"]["requests"] | {"nvidia.com/gpu": "1", "hugepages-2Mi": "2048Mi"}
    assert not made.pipeline_in_one_zone and made.nodes == 8
