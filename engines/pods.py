"""The parts of a server that all engines render alike: resource lists, variables, probes, and the settings that Kubernetes acts on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from engines.flags import without_flag
from engines.workload import Env, Probe, Role, SecretKey
from planner.engine_facts import FixedSetting
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect, Place, path_text
from settings.error_messages import key_text
from settings.flatten import text_of
from settings.shard import EnvVar

_STARTUP_PERIOD_SECONDS = 10


def section(settings: BaseModel) -> Any:
    """A section of the settings as the guide spells it; quantities print back as they were written."""
    return json.loads(settings.model_dump_json(by_alias=True, exclude_none=True))


def resource_list(resources: BaseModel) -> dict[str, str]:
    """A Kubernetes resource list: quantities are text there, and so are counts."""
    return {name: str(quantity) for name, quantity in section(resources).items()}


def variable(entry: EnvVar) -> Env:
    """Converts an entry of `shard.env`."""
    if entry.value_from is None:
        return Env(name=entry.name, value=entry.value)
    reference = entry.value_from.secret_key_ref
    return Env(name=entry.name, secret_key=SecretKey(secret=reference.name, key=reference.key))


def env_key(name: str) -> str:
    """The key of a variable of `shard.env`."""
    return key_text(("shard", "env", name))


GRAPHS_VARIABLE = "CUDA_ENABLE_GRAPHS"
_SWITCHED_OFF = ("0", "false", "no", "off")


def without_cuda_graphs(settings: StackSettings) -> bool:
    """Whether the stack switches CUDA graphs off, by the guide's variable in `shard.env`."""
    return any(entry.name == GRAPHS_VARIABLE and (entry.value or "").lower() in _SWITCHED_OFF for entry in settings.shard.env)


DATA_DIR = "/data"
"""Where servers see weights: the storage, with the model's folder in it, or that folder alone. The guide reads its calibration set from
`/data/calibration.json`."""


def weights_folder(plan: Plan) -> str:
    """The path of the model's folder in the container, whether it is in the storage or mounted alone."""
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


_SIDES = ("requests", "limits")


def container_effects(name: Literal["coordinator", "shard"], role: Role) -> Iterator[Effect]:
    """The image and the resources of a container, whose settings are `images.NAME` and `NAME.resources`."""
    yield at(role, f"images.{name}", "image")
    for side in _SIDES:
        # The section itself is a setting where it is empty.
        for below in ((), ("nvidia.com/gpu",), ("cpu",), ("memory",)):
            yield at(role, ".".join((name, "resources", side, *below)), path_text("resources", side, *below))


def shard_effects(plan: Plan, *roles: Role) -> Iterator[Effect]:
    """The settings of `shard_fields` in all pods of a pipeline."""
    for role in roles:
        yield from container_effects("shard", role)
        yield at(role, "rollout.modelLoadTimeout", "startupProbe.failureThreshold")
        if plan.pod.huge_pages_mib:
            for side in _SIDES:
                for key in ("shard.config.useHugePages", "nodeTuning.hugePages2Mi"):
                    yield at(role, key, path_text("resources", side, "hugepages-2Mi"))


def at(role: Role, key: str, path: str) -> Effect:
    """A setting that is in force at a path of a role's container."""
    return Effect(key=key, place=Place(kind=role, path=path))


def switches(fixed: Iterable[FixedSetting], given: Mapping[str, str]) -> Iterator[Effect]:
    """The settings of which the engine can follow one value only; the planner has set it, unless `sizing.mode` is `verbatim`.

    `given` is the stack's settings by their keys. Where a whole section is asked for that the engine does not have, its settings follow.
    """
    for setting in fixed:
        key = key_text(setting.path)
        if setting.path[0] in ("nodeTuning", "profiling"):
            continue
        yield without_flag(key, given[key], setting.because, setting.source, text_of(setting.value))
        if given[key] != text_of(setting.value) and setting.value is False:
            prefix = key.removesuffix(".enabled") + "."
            yield from (
                without_flag(below, given[below], setting.because, setting.source)
                for below in given
                if below.startswith(prefix) and below != key
            )


ANY_PIPELINE = "every pipeline holds all layers, so a request may go to any of them"
"""Why rules of affinity between requests and shards have no effect with engines whose pipelines are alike."""


def thread_pinning(settings: StackSettings, because: str) -> Effect:
    """What becomes of `shard.config.threadPinning` with an engine that leaves it to the kubelet; `because` says why the engine does."""
    return Effect(
        key="shard.config.threadPinning",
        place=Place(kind="shard", path="resources.limits.cpu"),
        outcome="translated",
        given="CPUs of the pod's own, by the kubelet's static policy" if settings.shard.config.thread_pinning else "false",
        because=because,
        source="kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies",
    )
