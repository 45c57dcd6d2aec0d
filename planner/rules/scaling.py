"""When the autoscaler adds a pipeline: beyond the requests in flight that one answers within the target.

docs/adr/0013-a-pipeline-is-added-when-one-is-not-enough.md says why. Not here: the autoscaler itself (`infra/kubernetes/autoscaling.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit.concurrency import Concurrency, waiting_requests
from planner.fit.demand import load_of, too_long
from planner.fit.plan import Finding, Scaling
from planner.fit.serving import pipeline
from planner.performance.published_rows import Impossible
from planner.rules.rule import NOT_SET
from settings import StackSettings
from settings.wording import count

if TYPE_CHECKING:
    from planner.fit.layout import Layout

KEY = "autoscaling.requestsPerPipeline"


def scaling(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, at_once: Concurrency) -> Scaling | None:
    """For a stack as it is deployed; None where nothing scales it."""
    if not settings.autoscaling.enabled:
        return None
    load = load_of(settings)
    keeps, problem = 0, too_long(load, shape, at_once.request_tokens)
    if not problem:
        try:
            one = pipeline(settings, size, gpu, shape, load, most=at_once.requests)
        except Impossible as error:
            problem = str(error)
        else:
            keeps = one.most_within(load.latency_s, "high")
            problem = "" if keeps else f"one request alone takes up to {one.at(1).latency.high:.3g} s, by the slow end of the estimate"
    lets_in = at_once.requests + waiting_requests(settings, at_once.requests)
    # More than the door lets in would never be there; then those whom it refuses decide.
    threshold = settings.autoscaling.requests_per_pipeline or min(keeps, lets_in) or at_once.requests
    return Scaling(requests_per_pipeline=threshold, keeps=keeps, problem=problem, fallback_pipelines=_fallback_pipelines(settings))


def _fallback_pipelines(settings: StackSettings) -> int | None:
    """None where the cluster's KEDA would take the number for all that may run, and so shrink a loaded service.

    AKS chooses KEDA's release by the Kubernetes version: 2.19 for 1.36; 2.17 for 1.35, whose operator ends on a fallback that keeps more
    (kedacore/keda pull request 6992); 2.16 for 1.33, which knows no such fallback. Source: MicrosoftDocs/azure-aks-docs
    articles/aks/supported-kubernetes-versions.md at fb060abe6 (2026-08-21).
    """
    major, minor = settings.cluster.kubernetes_version.split(".")[:2]
    return settings.sharding.pipelines if (int(major), int(minor)) >= (1, 36) else None


def findings(asked: StackSettings, settings: StackSettings, size: GpuSize, made: Layout, found: Scaling) -> Iterator[Finding]:
    """What the autoscaler's bounds and its threshold come to."""
    target, threshold = settings.targets.latency, found.requests_per_pipeline
    written = asked.autoscaling.requests_per_pipeline
    within = f"one pipeline answers up to {found.keeps:,} requests in flight within {target}, by the slow end of the estimate"
    if not found.keeps:
        because = (
            f"no number of pipelines keeps {target} for {settings.targets.tokens} tokens: {found.problem}. A pipeline is added when more "
            f"than {threshold:,} requests in flight fall to each"
            + ("" if written else ", which is as many as it runs at once: more of them shorten the wait for a place, not the answer itself")
        )
        yield _finding("SCALE-002", "warning", KEY, written, threshold, because)
    elif written is None:
        because = f"{within}; a pipeline is added when more fall to each. Kubernetes' autoscaler lets a tenth more pass (its tolerance)"
        yield _finding("SCALE-001", "info", KEY, written, threshold, because)
    elif threshold > found.keeps:
        yield _finding("SCALE-003", "warning", KEY, written, threshold, f"{within}, so the target is missed before a pipeline is added")
    elif threshold < found.keeps:
        yield _finding("SCALE-004", "warning", KEY, written, threshold, f"{within}; {_in_vain(settings, size, made, found)}")
    yield from _nodes_that_stay(settings, size, made)
    yield from _nodes_that_never_come(settings, size, made)


def _in_vain(settings: StackSettings, size: GpuSize, made: Layout, found: Scaling) -> str:
    wanted, most = math.ceil(found.keeps / found.requests_per_pipeline), settings.autoscaling.max_pipelines
    said = f"with that many the autoscaler asks for {wanted:,} pipelines" + f" and gets {most:,}" * (wanted > most)
    more = _nodes(made, min(wanted, most), settings.sharding.pipelines) - _nodes(made, 1, settings.sharding.pipelines)
    if size.usd_per_hour is None or more <= 0:
        return said
    return f"{said}: {more * size.usd_per_hour:,.2f} USD an hour for a load that one takes"


def _nodes(made: Layout, pipelines: int, planned: int) -> int:
    """About as many as so many pipelines need, by those that the planned ones do."""
    needed = sum(pool.nodes for pool in made.gpu_pools)
    return math.ceil(needed * pipelines / planned)


def _nodes_that_stay(settings: StackSettings, size: GpuSize, made: Layout) -> Iterator[Finding]:
    """Pipelines that go without their nodes save nothing."""
    least, planned = settings.autoscaling.min_pipelines, settings.sharding.pipelines
    stay, need = sum(pool.min_nodes for pool in made.gpu_pools), _nodes(made, least, planned)
    if made.pod.huge_pages_mib:
        # Azure's autoscaler adds no first node for those.
        need = max(need, len(made.gpu_pools))
    if least < planned and stay > need:
        saved = "" if size.usd_per_hour is None else f" and save {(stay - need) * size.usd_per_hour:,.2f} USD an hour"
        because = (
            f"{count(stay, 'node')} stay however few pipelines there are: {least} of {planned} would need {need}{saved}. "
            f"To let them go: gpuPool: {{minNodes: {need}}}"
        )
        yield _finding("SCALE-005", "warning", "autoscaling.minPipelines", least, least, because)


def _nodes_that_never_come(settings: StackSettings, size: GpuSize, made: Layout) -> Iterator[Finding]:
    """Pipelines that the autoscaler may add, on nodes that the pools may not have."""
    most, room = settings.autoscaling.max_pipelines, made.most_pipelines
    if room >= most:
        return
    there, need = sum(pool.max_nodes for pool in made.gpu_pools), made.wanted_nodes
    because = (
        f"autoscaling.maxPipelines: {most} need {count(need, 'node')} of {size.name}, and there may be {there}, which hold "
        f"{count(room, 'pipeline')}: the pods of the others stay Pending for as long as the load asks for them. To run them: gpuPool: "
        f"{{maxNodes: {need}}}, or to ask for no more than fit: autoscaling: {{maxPipelines: {room}}}"
    )
    yield _finding("SCALE-006", "warning", "gpuPool.maxNodes", settings.gpu_pool.max_nodes, there, because)


def _finding(code: str, severity: str, key: str, asked: int | None, given: int, because: str) -> Finding:
    return Finding(
        code=code,
        severity="warning" if severity == "warning" else "info",
        outcome="noted",
        key=key,
        asked=NOT_SET if asked is None else str(asked),
        given=str(given),
        because=because,
        source="docs/performance-model.md; docs/adr/0010-a-target-is-met-at-the-slow-end.md",
    )
