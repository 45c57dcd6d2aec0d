"""In which zone a shard may be placed: a pipeline's shards all in one, pipelines evenly over the zones.

A LeaderWorkerSet marks each pod with its group (a pipeline) and its index in it; index 0 leads. Leaders are spread, and each group
follows its leader. https://lws.sigs.k8s.io/docs/reference/labels-annotations-and-environment-variables/
Not here: the pools, one a zone, each as large as its pipelines (`infra/azure/gpu_pool.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from infra.kubernetes import names
from infra.kubernetes.pods import Manifest
from planner.fit.placement import ZONE
from planner.fit.plan import Plan
from settings.account import Effect, Resource
from settings.shard import TopologySpreadConstraint


def spread_constraints(asked: tuple[TopologySpreadConstraint, ...], pipeline_zones: tuple[str, ...]) -> list[Manifest]:
    """The constraints as asked; with `pipeline_zones`, those over zones count pipelines instead of shards."""
    shards = names.selector(names.SHARD)
    if not pipeline_zones:
        return [_constraint(constraint, shards) for constraint in asked]
    # Also when less was asked: each zone's pool holds exactly its even share, and shards of two pipelines that met in a zone with
    # room for one would wait for each other for ever. A pod takes one constraint of each key and whenUnsatisfiable.
    evenly = TopologySpreadConstraint(max_skew=1, topology_key=ZONE, when_unsatisfiable="DoNotSchedule")
    # A zone whose nodes are all unreachable or drained must not count as one without pipelines: that would hold up all others.
    # https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/, nodeTaintsPolicy
    made = [_constraint(evenly, shards | names.LEADER_LABEL) | {"nodeTaintsPolicy": "Honor"}]
    for constraint in asked:
        if constraint.topology_key != ZONE:
            made.append(_constraint(constraint, shards))
        elif constraint.when_unsatisfiable != evenly.when_unsatisfiable:
            made.append(_constraint(constraint, shards | names.LEADER_LABEL))
    return made


def _constraint(constraint: TopologySpreadConstraint, counted: dict[str, str]) -> Manifest:
    return {
        "maxSkew": constraint.max_skew,
        "topologyKey": constraint.topology_key,
        "whenUnsatisfiable": constraint.when_unsatisfiable,
        # The guide leaves it out; a constraint without it counts no pods and so does nothing.
        "labelSelector": {"matchLabels": counted},
    }


def affinity(stages: int, pipeline_zones: tuple[str, ...]) -> Manifest | None:
    """What keeps a pipeline's shards together; None where nothing has to.

    The term asks for the leader, not for any pod of the group: a worker that came first would otherwise choose a zone that the
    leader's constraint forbids. The leader matches its own term, so it may be the first.
    Source: pkg/scheduler/framework/plugins/interpodaffinity/filtering.go of kubernetes/kubernetes, satisfyPodAffinity.
    """
    if stages == 1 or not pipeline_zones:
        return None
    return {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": ZONE,
                    "labelSelector": {"matchLabels": names.selector(names.SHARD) | names.LEADER_LABEL},
                    # Stable since Kubernetes 1.33: https://www.kubernetes.dev/resources/keps/3633/
                    "matchLabelKeys": [names.PIPELINE_LABEL],
                }
            ]
        },
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": _in_turn(pipeline_zones)},
    }


def _in_turn(pipeline_zones: tuple[str, ...]) -> list[Manifest]:
    """Leaders take the zones in this order as far as the constraint lets them.

    With four pipelines on three zones the first zone's pool is the larger one; nothing else would keep the fourth leader from a
    zone that has no room for its workers. Each weight is ten times the next one, so that a zone outweighs how busy its nodes are.
    """
    return [
        {
            "weight": 10 ** (len(pipeline_zones) - 1 - place),
            "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]},
        }
        for place, zone in enumerate(pipeline_zones)
    ]


def effects(plan: Plan, pods_at: Sequence[str]) -> Iterator[Effect]:
    """The constraints as they are asked for, and what becomes of them when pipelines stay in one zone."""
    shards = Resource("LeaderWorkerSet", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
    for pod in pods_at:
        field = f"{pod}.topologySpreadConstraints"
        yield shards.effect("shard.topologySpreadConstraints", field)
        yield from (
            replace(effect, place=replace(effect.place, path=f"{field}{effect.place.path}")) for effect in _constraints(plan, shards)
        )
        for index in range(len(plan.settings.shard.topology_spread_constraints) if plan.pipeline_in_one_zone else 0):
            # One over zones is always there then, so another key or rule makes one more.
            for name in ("topologyKey", "whenUnsatisfiable"):
                yield shards.effect(f"shard.topologySpreadConstraints[{index}].{name}", field)
        yield shards.effect("gpuPool.zones", f"{pod}.affinity.nodeAffinity")
        yield shards.effect("sharding.shardsCount", f"{pod}.affinity.podAffinity")


def _constraints(plan: Plan, shards: Resource) -> Iterator[Effect]:
    """Found by key and rule, as Kubernetes takes one of each. Which zones there are changes nothing about the constraints."""
    asked = plan.settings.shard.topology_spread_constraints
    rendered = spread_constraints(asked, tuple(plan.settings.gpu_pool.zones) if plan.pipeline_in_one_zone else ())
    rules = [(constraint["topologyKey"], constraint["whenUnsatisfiable"]) for constraint in rendered]
    counted = {
        "outcome": "translated",
        "because": "the constraint counts pipelines, by their first shards, instead of shards",
        "source": "infra/kubernetes/zones.py",
    }
    for index, constraint in enumerate(asked):
        at = rules.index((constraint.topology_key, constraint.when_unsatisfiable))
        reason = counted if plan.pipeline_in_one_zone and constraint.topology_key == ZONE else {}
        for name in ("maxSkew", "topologyKey", "whenUnsatisfiable"):
            yield shards.effect(f"shard.topologySpreadConstraints[{index}].{name}", f"[{at}].{name}", **reason)
