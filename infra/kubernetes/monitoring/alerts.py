"""The alerts: what is wrong, for whom it is urgent, and which page of docs/runbooks says what to do.

An alert that stands for ever hides the next fault, and one on a series that nobody sends looks like peace: each is tried by the real
rule engine on its fault and on peace, and has a fault of its own (`tests/infra/kubernetes/monitoring/test_prometheus_rules.py`).
An alert is left out where its engine has no such series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engines.metrics import RECORDED, table
from engines.workload import Workload
from infra.kubernetes import names
from infra.kubernetes.monitoring.prometheus_config import interval, scrape_jobs, sources
from planner.fit.plan import Plan
from settings.operations import Targets
from settings.quantities import Duration

APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)
"""Errors that a program made on a healthy GPU. NVIDIA/k8s-device-plugin internal/rm/health.go, which takes a GPU out for all others."""

PAGE, TICKET, HEARTBEAT = "page", "ticket", "heartbeat"
"""Somebody is woken, somebody looks on the next working day, or a service expects it and calls when it stays away."""
WATCHDOG = "ZigAiWatchdog"
"""Fires for ever: whoever no longer hears it knows that no alert would arrive."""

_PATIENCE = Duration("10m")
_DCGM, _PROMETHEUS = table("dcgm"), table("prometheus")
_LATE = 0.05
"""The target is a 95th percentile: as many may be slower."""
_BURNS = ((PAGE, 14.4, "1h", "5m", "2m"), (TICKET, 6.0, "6h", "30m", "15m"))
"""Severity, how many times as fast as the budget of 30 days lasts, over which two windows, and for how long: the first spends 2 % of it in
an hour, the second 5 % in six. https://sre.google/workbook/alerting-on-slos/"""
_CERTIFICATE_DAYS = 14


def alerts(plan: Plan, workload: Workload, recorded: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the rules. `recorded`: what is recorded of this engine, by its key in `engines.metrics.RECORDED`."""
    return [
        *_latency_alerts(plan.settings.targets, recorded),
        *_error_alerts(plan.settings.targets, recorded),
        *_pipeline_alerts(plan, workload, recorded),
        *_client_alerts(recorded),
        *_gpu_alerts(plan),
        *_scrape_alerts(plan, workload),
        *_own_alerts(),
    ]


def _latency_alerts(targets: Targets, recorded: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    summary = f"the 95th percentile of latency is above {targets.latency}"
    yield _alert("ZigAiLatencyAboveTarget", f"{RECORDED['latency_p95']} > {targets.latency.seconds:g}", "5m", summary)
    if "slow_5m" in recorded:
        yield from _burning("ZigAiLatencyBudgetBurning", "slow", _LATE, f"take longer than {targets.latency}, and 5 % may")


def _error_alerts(targets: Targets, recorded: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if "errors_5m" in recorded:
        allowed = 1 - targets.availability.fraction
        yield from _burning("ZigAiErrorBudgetBurning", "errors", allowed, f"fail or are refused, and {allowed:.3%} may")


def _burning(name: str, share: str, budget: float, what: str) -> Iterator[dict[str, Any]]:
    """Two windows each: the long one tells that it is worth a look, the short one that it is still so."""
    for severity, times, long, short, lasting in _BURNS:
        bound = f"{min(times * budget, 0.95):.4g}"
        expression = f"{RECORDED[f'{share}_{long}']} > {bound} and {RECORDED[f'{share}_{short}']} > {bound}"
        yield _alert(name, expression, lasting, f"{{{{ $value | humanizePercentage }}}} of requests {what}", severity=severity)


def _pipeline_alerts(plan: Plan, workload: Workload, recorded: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    coordinators = f'{_PROMETHEUS["up"]}{{app="{names.COORDINATOR}",job="inference"}}'
    down = f"(count({coordinators} == 1) or vector(0)) == 0"
    if "healthy" in recorded:
        down += f" or {RECORDED['healthy']} == 0"
        expected = _expected(plan, workload)["inference"][-1]
        least = _least_pipelines(plan)
        summary = f"{{{{ $value }}}} pipelines are sent requests, and there must be {least}"
        yield _alert("ZigAiPipelinesMissing", f"{RECORDED['healthy']} < {least}", expected.patience, summary)
    yield _alert("ZigAiServiceDown", down, "3m", "nobody answers requests: no coordinator, or no pipeline behind it", severity=PAGE)
    if "waiting" in recorded:
        yield _alert("ZigAiRequestsWait", f"{RECORDED['waiting']} > 0", "15m", "{{ $value }} requests wait: the pipelines are full")
    if "ejected" in recorded:
        yield _alert("ZigAiPipelineEjected", f"{RECORDED['ejected']} > 0", "10m", "a pipeline is left out because its answers failed")
    if "preemptions" in recorded:
        summary = "requests are computed again because the KV cache is full"
        yield _alert("ZigAiCacheFull", f"{RECORDED['preemptions']} > 0", "10m", summary)


def _client_alerts(recorded: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if "left" in recorded:
        summary = "{{ $value | humanizePercentage }} of clients leave before they have an answer"
        yield _alert("ZigAiClientsLeave", f"{RECORDED['left']} > 0.05", "10m", summary)
    if "retried" in recorded:
        summary = "{{ $value | humanizePercentage }} of requests failed in a pipeline and were sent to another one"
        yield _alert("ZigAiRetries", f"{RECORDED['retried']} > 0.01", "10m", summary)
    if "certificate_days" in recorded:
        summary = "the front door's certificate ends in {{ $value }} days"
        yield _alert("ZigAiCertificateEnds", f"{RECORDED['certificate_days']} < {_CERTIFICATE_DAYS}", "10m", summary)


def _own_alerts() -> Iterator[dict[str, Any]]:
    yield _alert(WATCHDOG, "vector(1)", "0m", "alerts are evaluated and delivered, as long as this one arrives", severity=HEARTBEAT)
    failing = f"increase({_PROMETHEUS['rule_failures']}[15m]) > 0"
    yield _alert("ZigAiRulesFail", failing, "5m", "Prometheus cannot evaluate a rule, so an alert may be missing")
    cut = f"increase({_PROMETHEUS['cut_by_size']}[3h]) > 0"
    yield _alert("ZigAiHistoryCut", cut, "10m", "Prometheus' disk is full, so it keeps less than monitoring.retention asks for")


def gpu_memory_beyond_plan(fraction: float) -> str:
    """PromQL: half of what the server is to leave free is gone.

    Not at `fraction` itself: a server that takes its memory at start is there for ever, and the context beside it, so that vLLM by its
    defaults (0.9) was measured to take 75,600 of an H100's 81,559 MiB (bench/results/gpu_nvidia_h100_80gb_hbm3_vllm.json).
    """
    return f"{RECORDED['gpu_memory']} > {(1 + fraction) / 2:.4g}"


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
    failing = f"{_DCGM['row_remap_failed']} > 0 or increase({_DCGM['remapped_rows']}[1h]) > 0"
    yield _alert(
        "ZigAiGpuMemoryFails", failing, "0m", "a GPU has memory that no longer holds what is written: drain its node and have it exchanged"
    )
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
    pipelines = _least_pipelines(plan)
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


def _least_pipelines(plan: Plan) -> int:
    return plan.settings.autoscaling.min_pipelines if plan.scaling else plan.pipelines


_OWNERS = {
    "ZigAiGpu": "cluster",
    "ZigAiScrape": "monitoring",
    "ZigAiRules": "monitoring",
    "ZigAiHistory": "monitoring",
    WATCHDOG: "monitoring",
}
"""Who has to act, by how an alert's name begins; all others are the service's."""


def _alert(name: str, expression: str, lasting: str, summary: str, *, severity: str = TICKET, **labels: str) -> dict[str, Any]:
    """Rules of one name differ by their labels: else two that fire at once would be one series."""
    owner = next((owner for begin, owner in _OWNERS.items() if name.startswith(begin)), "service")
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity, "owner": owner} | labels,
        "annotations": {"summary": summary, "runbook": f"docs/runbooks/{name}.md"},
    }
