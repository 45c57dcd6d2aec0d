"""What Prometheus makes of what it scrapes: targets as recorded series, and alerts. Plain text in, plain text out; no Pulumi.

An alert that stands for ever hides the next fault, and one on a series that nobody sends looks like peace: each is tried by the real
rule engine on its fault and on peace, and each name is held against what the exporters say
(`tests/infra/kubernetes/monitoring/test_prometheus_rules.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from engines.metrics import RECORDED, table
from engines.workload import GUIDES_LATENCY, GUIDES_REQUESTS, Series, Workload
from infra.kubernetes import names
from infra.kubernetes.monitoring.prometheus_config import interval, scrape_jobs, sources
from planner.fit.plan import Plan
from settings.account import Effect, Resource, path_text
from settings.operations import Targets
from settings.quantities import Duration

APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)
"""Errors that a program made on a healthy GPU. NVIDIA/k8s-device-plugin internal/rm/health.go, which takes a GPU out for all others."""

_PATIENCE = Duration("10m")
_DCGM = table("dcgm")


def rules_yaml(plan: Plan, workload: Workload) -> str:
    """`rules.yml`."""
    alerts = [*_service_alerts(plan.settings.targets), *_gpu_alerts(plan), *_scrape_alerts(plan, workload)]
    groups = [
        {"name": "zig-ai-targets", "rules": [{"record": name, "expr": expr} for name, expr in _recorded(plan, workload).items()]},
        {"name": "zig-ai-alerts", "rules": alerts},
    ]
    return yaml.dump({"groups": groups}, Dumper=yaml.CSafeDumper, sort_keys=False, width=140)


def latency_missed(targets: Targets) -> str:
    """PromQL: the alert's expression."""
    return f"{RECORDED['latency_p95']} > {targets.latency.seconds:g}"


def gpu_memory_beyond_plan(fraction: float) -> str:
    """PromQL: half of what the server is to leave free is gone.

    Not at `fraction` itself: a server that takes its memory at start is there for ever, and the context beside it, so that vLLM by its
    defaults (0.9) was measured to take 75,600 of an H100's 81,559 MiB (bench/results/gpu_nvidia_h100_80gb_hbm3_vllm.json).
    """
    return f"{RECORDED['gpu_memory']} > {(1 + fraction) / 2:.4g}"


def _recorded(plan: Plan, workload: Workload) -> dict[str, str]:
    targets, latency, requests = plan.settings.targets, workload.latency, workload.requests
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
    targets_beside = {
        # To draw beside what is measured.
        "zig_ai:target:inference_latency_seconds": f"vector({targets.latency.seconds:g})",
        "zig_ai:target:throughput_rps": f"vector({targets.throughput_rps:g})",
        "zig_ai:target:gpu_utilization:ratio": f"vector({targets.gpu_utilization.fraction:g})",
        "zig_ai:target:gpu_memory:ratio": f"vector({targets.gpu_memory.fraction:g})",
    }
    by_name = {RECORDED[key].name: expression for key, expression in recorded.items()} | targets_beside
    return by_name if (latency, requests) == (GUIDES_LATENCY, GUIDES_REQUESTS) else by_name | _by_the_guides_names(latency, requests)


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


def _service_alerts(targets: Targets) -> Iterator[dict[str, Any]]:
    summary = f"95th percentile of latency is above {targets.latency}"
    yield _alert("ZigAiLatencyAboveTarget", latency_missed(targets), "5m", summary)


def _gpu_alerts(plan: Plan) -> Iterator[dict[str, Any]]:
    fraction = plan.settings.shard.config.gpu_memory_fraction
    beyond = gpu_memory_beyond_plan(fraction)
    summary = f"a GPU has less than half of the memory free that a server is to leave ({fraction:.0%} is the server's), and may run out"
    yield _alert("ZigAiGpuMemoryBeyondPlan", beyond, "10m", summary)
    # The exporter counts each XID for five minutes; an hour, so that somebody sees it, and then peace until the next.
    xids = "|".join(map(str, APPLICATION_XIDS))
    for name, which, summary in (
        ("ZigAiGpuError", f'xid!="",xid!~"{xids}"', "a GPU, its driver or its link had XID {{ $labels.xid }}: the node may need a reboot"),
        ("ZigAiGpuProgramError", f'xid=~"{xids}"', "a program had XID {{ $labels.xid }} on a GPU, which is healthy: see the server's log"),
    ):
        yield _alert(name, f"max_over_time({_DCGM['xids']}{{{which}}}[1h]) > 0", "0m", summary)
    yield _alert("ZigAiGpuIdle", f"{RECORDED['gpu_busy']} < 0.3", "30m", "GPUs are paid for and hardly used")


@dataclass(frozen=True, kw_only=True)
class _Answering:
    """What answers a scrape job."""

    least: int
    """How many there are, however few the autoscalers leave."""
    patience: str
    """How long one may be silent."""
    application: str = ""
    """Which of the job's pods; all where it is empty."""


def _scrape_alerts(plan: Plan, workload: Workload) -> Iterator[dict[str, Any]]:
    """A renamed metric, a blocked port and a pod that is gone show as "no data", which looks like peace.

    One that does not answer is named; one that is not there at all is missed by the number that there is at least.
    """
    expected = _expected(plan, workload)
    for job in scrape_jobs(plan.settings.monitoring, workload):
        name = job["job_name"]
        source = next((one.name for one in sources(workload) if name in (one.name, *one.series)), name)
        for those in expected[source]:
            if those.application == names.SHARD and name != source and not workload.shards_measure:
                continue
            labels = {"job": name} | ({"app": those.application} if those.application else {})
            up = f"{table('prometheus')['up']}{{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
            missing = f"{up} == 0 or (count({up} == 1) or vector(0)) < {those.least}"
            silent = "{{ with $labels.instance }}{{ . }} does not answer{{ else }}fewer answer than there must be, " + str(those.least)
            summary = f"scrape job {', '.join(labels.values())}: {silent}{{{{ end }}}}"
            yield _alert("ZigAiScrapeMissing", missing, those.patience, summary, **labels)


def _expected(plan: Plan, workload: Workload) -> dict[str, list[_Answering]]:
    """Returns what has to answer, for each source that a job reads, by the name of the source."""
    settings = plan.settings
    pipelines = settings.autoscaling.min_pipelines if plan.scaling else plan.pipelines
    shards = len(plan.shards)
    if workload.worker and workload.shard.metrics_port not in {port.name for port in workload.worker.ports}:
        shards = 1
    gpu_nodes = sum(pool.min_nodes for pool in plan.gpu_pools)
    # One that still reads its weights answers nothing.
    loading = interval(max(settings.rollout.model_load_timeout, _PATIENCE, key=lambda one: one.seconds))

    return {
        "prometheus": [_Answering(least=1, patience=str(_PATIENCE))],
        "inference": [
            _Answering(application=names.COORDINATOR, least=settings.coordinator.replicas, patience=str(_PATIENCE)),
            _Answering(application=names.SHARD, least=pipelines * shards, patience=loading),
        ],
        "gpu": [_Answering(least=gpu_nodes, patience=str(_PATIENCE))],
        "node": [_Answering(least=gpu_nodes + settings.cluster.system_pool.min_nodes, patience=str(_PATIENCE))],
    }


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


def _alert(name: str, expression: str, lasting: str, summary: str, **labels: str) -> dict[str, Any]:
    """Rules of one name differ by their labels: else two that fire at once would be one series."""
    severity = {"severity": "warning"}
    return {"alert": name, "expr": expression, "for": lasting, "labels": severity | labels, "annotations": {"summary": summary}}


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
"""Settings that decide how many must answer a scrape job, and how soon."""


def effects() -> Iterator[Effect]:
    """The settings that the rules answer."""
    config = Resource("ConfigMap", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    targets, alerts = (path_text("data", "rules.yml", "groups") + f"[zig-ai-{group}].rules" for group in ("targets", "alerts"))
    yield config.effect("targets.latency", f"{alerts}[ZigAiLatencyAboveTarget].expr")
    for key, series in (
        ("latency", "inference_latency_seconds"),
        ("throughputRps", "throughput_rps"),
        ("gpuUtilization", "gpu_utilization:ratio"),
        ("gpuMemory", "gpu_memory:ratio"),
    ):
        yield config.effect(f"targets.{key}", f"{targets}[zig_ai:target:{series}].expr")
    yield config.effect("gpuPool.usdPerHour", f"{targets}[{RECORDED['usd_per_hour']}].expr")
    # The server is who takes the fraction; this only watches it.
    yield config.effect("shard.config.gpuMemoryFraction", f"{alerts}[ZigAiGpuMemoryBeyondPlan].expr", outcome="passed through")
    for key in _COUNTED:
        yield config.effect(key, f"{alerts}[ZigAiScrapeMissing]")
