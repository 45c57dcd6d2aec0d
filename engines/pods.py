"""What all engines render alike: resource lists, variables, probes, and where Kubernetes itself gives a setting its effect."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from engines import read_back
from engines.workload import Env, FieldPath, Probe, Role, SecretKey, Server, Told
from planner.engine_facts import FixedSetting
from planner.fit.plan import Plan
from settings import StackSettings
from settings.error_messages import key_text
from settings.flatten import text_of
from settings.shard import EnvVar

_STARTUP_PERIOD_SECONDS = 10


def plain(section: BaseModel) -> Any:
    """A settings section as the guide spells it; quantities print back as they were written."""
    return json.loads(section.model_dump_json(by_alias=True, exclude_none=True))


def resource_list(resources: BaseModel) -> dict[str, str]:
    """A Kubernetes resource list: quantities are text there, counts too."""
    return {name: str(quantity) for name, quantity in plain(resources).items()}


def variable(asked: EnvVar) -> Env:
    """One of `shard.env`."""
    if asked.value_from is None:
        return Env(name=asked.name, value=asked.value)
    reference = asked.value_from.secret_key_ref
    return Env(name=asked.name, secret_key=SecretKey(secret=reference.name, key=reference.key))


_SWITCHED_OFF = ("0", "false", "no", "off")


def without_cuda_graphs(settings: StackSettings) -> bool:
    """Whether the stack asks for none, by the guide's variable."""
    return any(one.name == "CUDA_ENABLE_GRAPHS" and (one.value or "").lower() in _SWITCHED_OFF for one in settings.shard.env)


def environment(settings: StackSettings, ours: Iterable[Env]) -> tuple[Env, ...]:
    """`shard.env`, and the engine's own variables that it does not name."""
    asked = tuple(map(variable, settings.shard.env))
    names = {one.name for one in asked}
    return (*asked, *(one for one in ours if one.name not in names))


DATA_DIR = "/data"
"""Where servers see weights: the storage, with the model's folder in it, or that folder alone. The guide reads its calibration set from
`/data/calibration.json`."""


def weights_folder(plan: Plan) -> str:
    """Of the model, in either case."""
    return f"{DATA_DIR}/{plan.weights.folder}"


def shard_fields(settings: StackSettings, plan: Plan, port: str, health_path: str | None) -> dict[str, Any]:
    """Fields of a shard's `Server` that all engines give alike: its pod's resources, and probes that spare it restarts.

    Probes that kill a model which is still loading are the commonest fault of such deployments.
    """
    load_seconds = settings.rollout.model_load_timeout.seconds
    startup_threshold = math.ceil(load_seconds / _STARTUP_PERIOD_SECONDS)
    return {
        "requests": dict(plan.pod.requests),
        "limits": dict(plan.pod.limits),
        "startup": Probe(port=port, path=health_path, period_seconds=_STARTUP_PERIOD_SECONDS, failure_threshold=startup_threshold),
        # A restart costs a whole pipeline a model load, so a shard is given a minute to answer again.
        "liveness": Probe(port=port, path=health_path, failure_threshold=6),
        "readiness": Probe(port=port, path=health_path, period_seconds=5),
    }


EFFECTS: tuple[tuple[str, Role, FieldPath], ...] = (
    ("images.coordinator", "coordinator", ("image",)),
    ("images.shard", "shard", ("image",)),
    ("rollout.modelLoadTimeout", "shard", ("startup", "failure_threshold")),
    *(
        (".".join((role, "resources", *field)), role, field)
        for role in ("coordinator", "shard")
        for side in ("requests", "limits")
        # The section itself is a setting where it is empty.
        for field in ((side,), (side, "nvidia.com/gpu"), (side, "cpu"), (side, "memory"))
    ),
)
"""Settings that Kubernetes or the kubelet acts on, whatever the image does: key, server, field."""


def effects(given: Mapping[str, str], servers: Mapping[Role, Server], more: tuple[tuple[str, Role, FieldPath], ...] = ()) -> Iterator[Told]:
    """Those of `EFFECTS`, and of the engine's own, that the stack has; a shard's are those of its pipeline's workers too."""
    return (
        read_back.in_field(key, each, servers[each], field)
        for key, role, field in (*EFFECTS, *more)
        if key in given
        for each in (role, *(("worker",) if role == "shard" and "worker" in servers else ()))
    )


_NOTHING_ASKED = ("[]", "0", "false")


def nowhere(engine: str, key: str, asked: str, because: str, source: str, *lived_with: str) -> Told:
    """A setting that no flag follows from: in force when what is asked is what the engine does anyway."""
    does = asked in (*_NOTHING_ASKED, *lived_with)
    outcome: Literal["in force", "not supported"] = "in force" if does else "not supported"
    return Told(key=key, outcome=outcome, role="shard", field=(), holds=engine, because=because, source=source)


def switches(engine: str, without: Iterable[FixedSetting], given: Mapping[str, str]) -> Iterator[Told]:
    """Settings with one value that the engine can follow; the planner has given it, unless `sizing.mode` is `verbatim`."""
    for one in without:
        key = key_text(one.path)
        if one.path[0] in ("nodeTuning", "profiling"):
            continue
        yield nowhere(engine, key, given[key], one.because, one.source, text_of(one.value))
        if given[key] != text_of(one.value) and one.value is False:
            section = key.removesuffix(".enabled") + "."
            yield from (
                nowhere(engine, below, given[below], one.because, one.source)
                for below in given
                if below.startswith(section) and below != key
            )
