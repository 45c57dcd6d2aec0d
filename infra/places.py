"""Where the value of each setting is, once it is deployed: in Kubernetes, in Azure, or in the plan. Pure and quick; no Pulumi.

A setting without a line in any of the three tables and without a word of the engine is rendered nowhere, which a test refuses; and
each line is checked against what the program really registers, and against a real cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from infra import naming
from infra.azure import places as azure
from infra.kubernetes import engine_places
from infra.kubernetes import places as kubernetes
from infra.place import PLAN, Lines
from infra.place import Place as Line
from infra.reading import read
from infra.registration import Registration
from planner.fit.plan import Plan
from settings.account import Effect, Place
from settings.flatten import leaves
from settings.model import Shape


def effects(registration: Registration) -> dict[str, tuple[Effect, ...]]:
    """Key to effects with what is at their places, those first that most is known of. Keys of settings that the stack does not have are
    left out, but for those that the plan says something about: what it put there where nothing was set.
    """
    known = {*leaves(registration.plan.settings), *(finding.key for finding in registration.plan.findings)}
    found: dict[str, list[Effect]] = {}
    for effect in statements(registration):
        if effect.key in known:
            found.setdefault(effect.key, []).append(replace(effect, place=read(effect.place, registration.find)))
    return {key: tuple(sorted(there, key=lambda effect: _KNOWN.index(effect.outcome))) for key, there in found.items()}


def statements(registration: Registration) -> Iterator[Effect]:
    """All that is said of any setting, before the places are read."""
    plan, workload = registration.plan, registration.workload
    yield from (_effect(key, line) for key, line in kubernetes.lines(plan, workload))
    yield from (_effect(key, line) for key, line in azure.lines(plan, naming.names_of(plan.settings.azure, registration.stack)))
    yield from (_effect(key, line) for key, line in _plan(plan))
    yield from engine_places.effects(workload)


def _effect(key: str, line: Line) -> Effect:
    place = Place(kind=line.kind, name=line.name, path=line.path, file=line.file)
    return Effect(key=key, place=place, outcome=line.outcome, given=line.given, because=line.because, source=line.source)


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
