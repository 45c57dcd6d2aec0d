"""What Prometheus makes of what it scrapes: the same recorded series for every engine, and alerts (`alerts.py`). Plain text in, plain text
out; no Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from engines.metrics import BUDGET_WINDOWS, RECORDED, table
from engines.workload import GUIDES_LATENCY, GUIDES_REQUESTS, Series, Workload
from infra.kubernetes import names
from infra.kubernetes.monitoring.alerts import alerts
from planner.fit.plan import Plan
from settings.account import Effect, Resource, path_text

_DCGM = table("dcgm")


def rules_yaml(plan: Plan, workload: Workload) -> str:
    """`rules.yml`."""
    recorded = _recorded(plan, workload)
    by_name = {RECORDED[key].name: expression for key, expression in recorded.items()} | _beside(plan, workload)
    groups = [
        {"name": "zig-ai-targets", "rules": [{"record": name, "expr": expr} for name, expr in by_name.items()]},
        {"name": "zig-ai-alerts", "rules": alerts(plan, workload, recorded)},
    ]
    return yaml.dump({"groups": groups}, Dumper=yaml.CSafeDumper, sort_keys=False, width=140)


def _recorded(plan: Plan, workload: Workload) -> dict[str, str]:
    latency, requests = workload.latency, workload.requests
    answered = f"sum by (le) (rate({latency.name}_bucket{latency.where}[5m]))"
    if latency.refused:
        # They are in every bucket whose bound is above some milliseconds, and would make a service that refuses most look quick.
        answered = f"clamp_min({answered} - on () group_left () ({latency.refused}), 0)"
    p95 = f"histogram_quantile(0.95, {answered})"
    recorded = {
        "latency_p95": p95 if latency.unit == 1 else f"{latency.unit:g} * {p95}",
        "requests": f"sum(rate({requests.name}{requests.where}[5m]))",
        "in_flight": workload.load_query,
        **workload.signals,
        **_of_gpus(plan),
    }
    if "answer_tokens" in workload.signals:
        recorded |= _per_million_tokens(plan)
    return recorded


def _beside(plan: Plan, workload: Workload) -> dict[str, str]:
    """The targets, to draw beside what is measured, and the servers' series by the guide's names where they have others."""
    targets, latency, requests = plan.settings.targets, workload.latency, workload.requests
    found = {
        "zig_ai:target:inference_latency_seconds": f"vector({targets.latency.seconds:g})",
        "zig_ai:target:availability:ratio": f"vector({targets.availability.fraction:g})",
        "zig_ai:target:throughput_rps": f"vector({targets.throughput_rps:g})",
        "zig_ai:target:gpu_utilization:ratio": f"vector({targets.gpu_utilization.fraction:g})",
        "zig_ai:target:gpu_memory:ratio": f"vector({targets.gpu_memory.fraction:g})",
    }
    return found if (latency, requests) == (GUIDES_LATENCY, GUIDES_REQUESTS) else found | _by_the_guides_names(latency, requests)


def _of_gpus(plan: Plan) -> dict[str, str]:
    used, free = _DCGM["used"], _DCGM["free"]
    found = {
        "gpu_busy": f"avg({_DCGM['busy']}) / 100",
        "gpu_memory": f"sum by (node, gpu) ({used}) / sum by (node, gpu) ({used} + {free})",
        "gpu_watts": f"sum(rate({_DCGM['energy']}[5m])) / 1000",
        "gpu_nodes": f"count(count by (node) ({_DCGM['busy']}))",
    }
    price = plan.size.usd_per_hour
    return found if price is None else found | {"usd_per_hour": f"{price:g} * {found['gpu_nodes']}"}


def _per_million_tokens(plan: Plan) -> dict[str, str]:
    """Nothing while no token is generated: what is paid then is `ZigAiGpuIdle`'s to say."""
    tokens = f"({RECORDED['answer_tokens']} > 0)"
    found = {"joules_per_million_tokens": f"1000000 * {RECORDED['gpu_watts']} / {tokens}"}
    if plan.size.usd_per_hour is not None:
        found["usd_per_million_tokens"] = f"1000000 * {RECORDED['usd_per_hour']} / 3600 / {tokens}"
    return found


def _by_the_guides_names(latency: Series, requests: Series) -> dict[str, str]:
    """The servers' own series under the names that the guide's two commands ask for, times in seconds."""
    parts = {part: f"{latency.name}_{part}{latency.where}" for part in ("bucket", "sum", "count")}
    if latency.unit != 1:
        assert latency.unit == 0.001, "the bounds of buckets are texts, of which only milliseconds are known here"
        parts["sum"] = f"{latency.unit:g} * {parts['sum']}"
        for written, bound in _SECONDS_OF_MILLISECONDS:
            parts["bucket"] = f'label_replace({parts["bucket"]}, "le", "{bound}", "le", "{written}")'
    recorded = {f"{GUIDES_LATENCY.name}_{part}": expression for part, expression in parts.items()}
    return recorded | {GUIDES_REQUESTS.name: f"{requests.name}{requests.where}"}


_SECONDS_OF_MILLISECONDS = (
    (r"0\\.(\\d+)", "0.000$1"), (r"(\\d)", "0.00$1"), (r"(\\d\\d)", "0.0$1"), (r"(\\d{3})", "0.$1"), (r"(\\d+)(\\d{3})", "$1.$2"),
)  # fmt: skip
"""A bucket's bound as a PromQL regular expression, and the same in seconds; what one has changed has a point, which no later one takes."""


_COUNTED = (
    "coordinator.replicas",
    "sharding.pipelines",
    "sharding.shardsCount",
    "autoscaling.enabled",
    "autoscaling.minPipelines",
    "gpuPool.minNodes",
    "cluster.systemPool.minNodes",
    "rollout.modelLoadTimeout",
)
"""Settings that decide how many must answer a scrape job or be sent requests, and how soon."""


def effects(workload: Workload) -> Iterator[Effect]:
    """The settings that the rules answer."""
    config = Resource("ConfigMap", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    targets, watching = (path_text("data", "rules.yml", "groups") + f"[zig-ai-{group}].rules" for group in ("targets", "alerts"))
    yield config.effect("targets.latency", f"{watching}[ZigAiLatencyAboveTarget].expr")
    for key, series in (
        ("latency", "inference_latency_seconds"),
        ("availability", "availability:ratio"),
        ("throughputRps", "throughput_rps"),
        ("gpuUtilization", "gpu_utilization:ratio"),
        ("gpuMemory", "gpu_memory:ratio"),
    ):
        yield config.effect(f"targets.{key}", f"{targets}[zig_ai:target:{series}].expr")
    yield config.effect("gpuPool.usdPerHour", f"{targets}[{RECORDED['usd_per_hour']}].expr")
    # The server is who takes the fraction; this only watches it.
    yield config.effect("shard.config.gpuMemoryFraction", f"{watching}[ZigAiGpuMemoryBeyondPlan].expr", outcome="passed through")
    for key in _COUNTED:
        yield config.effect(key, f"{watching}[ZigAiScrapeMissing]")
    if "healthy" in workload.signals:
        for key in ("sharding.pipelines", "autoscaling.enabled", "autoscaling.minPipelines", "rollout.modelLoadTimeout"):
            yield config.effect(key, f"{watching}[ZigAiPipelinesMissing]")
        yield config.effect("targets.latency", f"{watching}[ZigAiLatencyBudgetBurning]")
        for window in BUDGET_WINDOWS:
            yield config.effect("targets.latency", f"{targets}[{RECORDED[f'slow_{window}']}].expr")
        yield config.effect("targets.availability", f"{watching}[ZigAiErrorBudgetBurning]")
