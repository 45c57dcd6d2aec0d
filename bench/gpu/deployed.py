"""The servers of prod's stack as they would be deployed on a VM size with a model, and how a local process differs from its pod.

Nothing is changed in favour of a measurement: the changes are listed here, and each result lists its differences.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engines import ENGINES
from engines.workload import Server
from infra.endpoints import endpoints
from planner import plan as make_plan
from planner.fit.plan import Plan
from serve.substitutions import pairs
from settings import files
from settings.error_messages import SettingPath
from settings.flatten import with_values

STACK = "prod"
SIZE = "Standard_NC40ads_H100_v5"
"""The VM size by default."""
MODEL = "llama-3-8b"
NOT_SET = "not set"
SWITCH = "set"
Changes = Mapping[SettingPath, Any]


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The server of a pipeline's first pod."""

    plan: Plan
    server: Server

    @property
    def environment(self) -> dict[str, str]:
        """The variables with a literal value."""
        return {one.name: one.value for one in self.server.env if one.value is not None}


def deployed(engine: str, size: str = SIZE, model: str = MODEL, changes: Changes | None = None) -> Deployed:
    """Returns prod's stack with this engine, size and model, one shard per pipeline, and `changes`. Raises SettingsError."""
    asked = files.from_file(files.stack_file_path(STACK), STACK).require()
    one = {("engine",): engine, ("gpuPool", "vmSize"): size, ("model", "name"): model, ("sharding", "shardsCount"): 1}
    plan = make_plan(with_values(asked, one | {("sharding", "layersPerShard"): None} | dict(changes or {})))
    workload = ENGINES[engine].render(plan.settings, plan, endpoints(plan, registry="registry.invalid", redis=None))
    return Deployed(plan=plan, server=workload.shard)


@dataclass(frozen=True, kw_only=True)
class Difference:
    what: str
    """The flag, variable or part of the pod that differs."""
    pod: str
    here: str


def differences(server: Server, command: Sequence[str], environment: Mapping[str, str], package: str) -> tuple[Difference, ...]:
    """Returns the differences between a pod's server and a local process: its command, its variables and its environment.

    `package` is the name and release of the local program.
    """
    pod = {one.name: one.value or "of the pod" for one in server.env}
    limits = server.limits
    return (
        Difference(what="release", pod=server.image, here=package),
        *_between(_options(server.args), _options(command)),
        *_between(pod, environment),
        Difference(what="CPUs", pod=limits.get("cpu", NOT_SET), here=str(os.cpu_count())),
        Difference(what="memory", pod=limits.get("memory", NOT_SET), here="the machine's"),
        Difference(what="weights", pod="the model's", here="random numbers"),
        Difference(what="container", pod=f"user {server.run_as_user}, read-only root", here="none"),
    )


def as_rows(found: Sequence[Difference]) -> list[dict[str, str]]:
    return [asdict(one) for one in found]


def _options(arguments: Sequence[str]) -> dict[str, str]:
    return {flag: SWITCH if value is None else value for flag, value in pairs(arguments)}


def _between(pod: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Difference]:
    for what in (*pod, *(name for name in here if name not in pod)):
        if pod.get(what) != here.get(what):
            yield Difference(what=what, pod=pod.get(what, NOT_SET), here=here.get(what, NOT_SET))
