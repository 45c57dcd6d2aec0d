"""Renders what the pods of a stack run, as for the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines import ENGINES
from engines.workload import Endpoints, Workload
from infra.endpoints import leaders_dns_name, shard_dns_names
from infra.kubernetes import names
from planner import plan as make_plan
from serve.monitoring import Monitoring, monitoring
from settings import files

ENGINE = "llama_cpp"
"""The engine that is served here, because its server runs without a GPU."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    stack: str
    engine_asked: str
    model: str
    """The stack's own model; a smaller one is served in its place."""
    workload: Workload
    pipelines: int
    api_keys: bool
    """Whether clients need an API key."""
    monitoring: Monitoring
    leaders: str
    """The DNS name of the pipelines' leaders in the coordinator's configuration."""


def render(file: Path, stack: str, pipelines: int, engine: str = ENGINE) -> Rendered:
    """Renders the stack's workload with this number of pipelines of `engine`. Raises SettingsError."""
    asked = settings = files.from_file(file, stack).require()
    if settings.engine != engine:
        # Settings written for another engine are adjusted to this one instead of refused. Its weights are of another format, and a small
        # model takes their place anyway.
        sizing = settings.sizing.model_copy(update={"mode": "fitted"})
        model = settings.model.model_copy(update={"source": None, "token_secret": None})
        settings = settings.model_copy(update={"engine": engine, "sizing": sizing, "model": model})
    plan = make_plan(settings)
    endpoints = Endpoints(
        namespace=names.SERVICE_NAMESPACE,
        registry="registry.invalid",
        shard_dns=shard_dns_names(pipelines, len(plan.shards)),
        leaders_dns=leaders_dns_name(),
        redis_host=None,
    )
    workload = ENGINES[engine].render(plan.settings, plan, endpoints)
    return Rendered(
        stack=stack,
        engine_asked=asked.engine,
        model=settings.model.name,
        workload=workload,
        pipelines=pipelines,
        api_keys=settings.exposure.api_keys is not None,
        monitoring=monitoring(plan, workload, pipelines),
        leaders=endpoints.leaders_dns,
    )
