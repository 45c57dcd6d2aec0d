"""When the autoscaler adds a pipeline: once there are more requests in flight than the pipelines answer within the target.

docs/adr/0013-a-pipeline-is-added-when-one-is-not-enough.md says why. Not here: the autoscaler itself (`infra/kubernetes/autoscaling.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit.concurrency import Concurrency, waiting_requests
from planner.fit.demand import demand_of, too_long
from planner.fit.layout import PodLayout
from planner.fit.plan import Finding, Scaling
from planner.fit.serving import pipeline
from planner.performance.published_rows import Impossible
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.wording import count

_THRESHOLD: SettingPath = ("autoscaling", "requestsPerPipeline")
_SOURCE = "docs/performance-model.md; docs/adr/0010-a-target-is-met-at-the-slow-end.md"


def scaling(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, at_once: Concurrency) -> Scaling | None:
    """The threshold of a stack as it is deployed; None where nothing scales it."""
    if not settings.autoscaling.enabled:
        return None
    load = demand_of(settings)
    keeps, problem = 0, too_long(load, shape, at_once.request_tokens)
    if not problem:
        try:
            one_pipeline = pipeline(settings, size, gpu, shape, load, most=at_once.requests)
        except Impossible as error:
            problem = str(error)
        else:
            keeps = one_pipeline.most_within(load.latency_s, "high")
            alone_s = one_pipeline.at(1).latency.high
            problem = "" if keeps else f"one request alone takes up to {alone_s:.3g} s, by the slow end of the estimate"
    admitted = at_once.requests + waiting_requests(settings, at_once.requests)
    # The coordinator refuses further requests, so a threshold above what it admits would never be reached.
    threshold = settings.autoscaling.requests_per_pipeline or min(keeps, admitted) or at_once.requests
    return Scaling(requests_per_pipeline=threshold, keeps=keeps, problem=problem, fallback_pipelines=_fallback_pipelines(settings))


def _fallback_pipelines(settings: StackSettings) -> int | None:
    """Pipelines that run at least while Prometheus does not answer; None where KEDA would shrink a loaded service to that number.

    AKS chooses KEDA's release by the Kubernetes version: 2.19 for 1.36; 2.17 for 1.35, whose operator crashes on a fallback that keeps more
    (kedacore/keda pull request 6992); 2.16 for 1.33, which knows no such fallback. Source: MicrosoftDocs/azure-aks-docs
    articles/aks/supported-kubernetes-versions.md at fb060abe6 (2026-08-21).
    """
    major, minor = settings.cluster.kubernetes_version.split(".")[:2]
    return settings.sharding.pipelines if (int(major), int(minor)) >= (1, 36) else None


def findings(asked: StackSettings, settings: StackSettings, size: GpuSize, pods: PodLayout, scaling: Scaling) -> Iterator[Finding]:
    """What the autoscaler's threshold and bounds lead to."""
    target, threshold = settings.targets.latency, scaling.requests_per_pipeline
    written = asked.autoscaling.requests_per_pipeline
    within = f"one pipeline answers up to {scaling.keeps:,} requests in flight within {target}, by the slow end of the estimate"
    if not scaling.keeps:
        because = (
            f"no number of pipelines keeps {target} for {settings.targets.tokens} tokens: {scaling.problem}. A pipeline is added when "
            f"there are more than {threshold:,} requests in flight for each"
            + (
                ""
                if written
                else ", which is how many it runs at once: more pipelines shorten the wait for a free one, not the answer itself"
            )
        )
        yield _threshold("SCALE-002", threshold, because)
    elif written is None:
        because = f"{within}; with more for each, a pipeline is added. Kubernetes' autoscaler tolerates a tenth more before it acts"
        yield _threshold("SCALE-001", threshold, because, severity="info")
    elif threshold > scaling.keeps:
        yield _threshold("SCALE-003", threshold, f"{within}, so the target is missed before a pipeline is added")
    elif threshold < scaling.keeps:
        yield _threshold("SCALE-004", threshold, f"{within}; {_in_vain(settings, size, pods, scaling)}")
    yield from _nodes_that_stay(settings, size, pods)
    yield from _nodes_that_never_come(settings, size, pods)


def _in_vain(settings: StackSettings, size: GpuSize, pods: PodLayout, scaling: Scaling) -> str:
    """What a threshold below the number that one pipeline answers in time costs."""
    wanted, most = math.ceil(scaling.keeps / scaling.requests_per_pipeline), settings.autoscaling.max_pipelines
    text = f"at that load the autoscaler asks for {wanted:,} pipelines"
    if wanted > most:
        text += f" and gets {most:,}"
    more = _nodes(pods, min(wanted, most), settings.sharding.pipelines) - _nodes(pods, 1, settings.sharding.pipelines)
    if size.usd_per_hour is None or more <= 0:
        return text
    return f"{text}: {more * size.usd_per_hour:,.2f} USD an hour for a load that one can serve"


def _nodes(pods: PodLayout, pipelines: int, planned: int) -> int:
    """Nodes that a number of pipelines needs, in proportion to what the planned number needs."""
    needed = sum(pool.nodes for pool in pods.gpu_pools)
    return math.ceil(needed * pipelines / planned)


def _nodes_that_stay(settings: StackSettings, size: GpuSize, pods: PodLayout) -> Iterator[Finding]:
    """A pipeline that is removed saves nothing while its nodes stay."""
    least, planned = settings.autoscaling.min_pipelines, settings.sharding.pipelines
    stay, need = sum(pool.min_nodes for pool in pods.gpu_pools), _nodes(pods, least, planned)
    if pods.pod.huge_pages_mib:
        # Azure's autoscaler adds no first node for pods that ask for huge pages.
        need = max(need, len(pods.gpu_pools))
    if least < planned and stay > need:
        saved = "" if size.usd_per_hour is None else f" and save {(stay - need) * size.usd_per_hour:,.2f} USD an hour"
        because = (
            f"{count(stay, 'node')} stay however few pipelines run: {least} of {planned} would need {need}{saved}. "
            f"To remove nodes with the pipelines, set gpuPool: {{minNodes: {need}}}"
        )
        yield Finding(code="SCALE-005", outcome="noted", path=("autoscaling", "minPipelines"), because=because, source=_SOURCE)


def _nodes_that_never_come(settings: StackSettings, size: GpuSize, pods: PodLayout) -> Iterator[Finding]:
    """The autoscaler may add pipelines for whose pods the node pools have no room."""
    most, room = settings.autoscaling.max_pipelines, pods.most_pipelines
    if room >= most:
        return
    allowed, need = sum(pool.max_nodes for pool in pods.gpu_pools), pods.wanted_nodes
    because = (
        f"autoscaling.maxPipelines: {most} needs {count(need, 'node')} of {size.name}, but at most {allowed} are allowed, which hold "
        f"{count(room, 'pipeline')}: the pods of the others stay Pending for as long as the load asks for them. To run them, set gpuPool: "
        f"{{maxNodes: {need}}}; to ask for no more than fit, set autoscaling: {{maxPipelines: {room}}}"
    )
    yield Finding(code="SCALE-006", outcome="noted", path=("gpuPool", "maxNodes"), given=str(allowed), because=because, source=_SOURCE)


def _threshold(code: str, threshold: int, because: str, severity: Literal["info", "warning"] = "warning") -> Finding:
    """A finding about the threshold, which the planner chooses where the stack file does not."""
    return Finding(code=code, severity=severity, outcome="noted", path=_THRESHOLD, given=str(threshold), because=because, source=_SOURCE)
