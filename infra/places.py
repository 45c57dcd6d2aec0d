"""Where the value of each setting is, once it is deployed: in Kubernetes, in Azure, or in the plan. Pure and quick; no Pulumi.

A setting without a line in any of the three tables and without a word of the engine is rendered nowhere, which a test refuses; and
each line is checked against what the program really registers, and against a real cluster.
"""

from __future__ import annotations

from dataclasses import replace

from engines.workload import Workload
from infra import naming
from infra.azure import places as azure
from infra.kubernetes import places as kubernetes
from infra.place import AS_GIVEN, PLAN, Lines, Place
from planner.fit.plan import Plan
from settings.flatten import leaves
from settings.model import Shape


def places(plan: Plan, workload: Workload, stack: str) -> dict[str, tuple[Place, ...]]:
    """Key to places, those first that most is known of. Keys of settings that the stack does not have are left out, but for those that
    the plan says something about: what it put there where nothing was set.
    """
    given = leaves(plan.settings)
    known = {*given, *(finding.key for finding in plan.findings)}
    lines = (*kubernetes.lines(plan, workload), *azure.lines(plan, naming.names_of(plan.settings.azure, stack)), *_plan(plan))
    found: dict[str, list[Place]] = {}
    for key, place in (*lines, *kubernetes.told(workload)):
        if key in known:
            found.setdefault(key, []).append(replace(place, holds=given[key]) if place.holds == AS_GIVEN else place)
    return {key: tuple(sorted(there, key=lambda place: _KNOWN.index(place.outcome))) for key, there in found.items()}


_KNOWN = ("not supported", "translated", "in force", "passed through")


def _plan(plan: Plan) -> Lines:
    """Settings that decide by themselves what is planned."""
    yield "model.name", PLAN("shape.name")
    for name, field in Shape.model_fields.items():
        yield f"model.shape.{field.alias}", PLAN(f"shape.{name}")
    yield "engine", PLAN("settings.engine")
    yield "sizing.mode", PLAN("settings.sizing.mode")
    yield "targets.tokens", PLAN("settings.targets.tokens")
    # What `shard.config.gpuMemoryFraction` may not be above.
    yield "targets.gpuMemory", PLAN("settings.targets.gpu_memory")
    yield "gpuPool.usdPerHour", PLAN("size.usd_per_hour")
