"""The sentences and table cells that the terminal, the HTML page and the preview share."""

from __future__ import annotations

import math

from planner.engine_facts import traits
from planner.fit import stack_memory
from planner.fit.concurrency import longest_request
from planner.fit.demand import too_long
from planner.fit.plan import Plan
from planner.fit.stack_memory import Parallel
from planner.fit.verdicts import seconds, why_no_less
from planner.recommend.assessment import Assessment
from planner.recommend.choice import Choice
from reports import yaml_switch
from settings.sharding import MOST_PIPELINES
from settings.wording import count, figure

COLUMNS = ("USD/hour", "USD/M tokens", "nodes", "size", "weights", "TP", "PP", "pipelines", "latency", "requests/s")


def asked(assessment: Assessment) -> str:
    """Describes the load and the targets of the stack."""
    load, targets = assessment.result.load, assessment.asked.targets
    return (
        f"{load.users:,} requests in flight of {load.input_tokens:,} + {load.output_tokens:,} tokens; targets: {targets.latency} for "
        f"{targets.tokens:,} tokens, {figure(targets.throughput_rps)} requests/s"
    )


def basis(assessment: Assessment) -> str:
    """Says which engine's measurements the predictions come from, and when a target counts as met."""
    engine = traits(assessment.asked.engine)
    measured = engine.performs_like + ("" if engine.measured else f", because {assessment.asked.engine} itself was not measured")
    estimate = "the estimate" if assessment.options.expected else "the slow end of the estimate's range"
    return (
        f"Predictions are for the average request, from measurements of {measured}; ~ marks those outside the measured data. "
        f"A target counts as met when {estimate} meets it."
    )


def row(choice: Choice) -> list[str]:
    """Returns the cells of a layout, in the order of `COLUMNS`."""
    prediction = choice.predict()
    cost = prediction.usd_per_million_tokens(choice.usd_per_hour)
    return [
        f"{choice.usd_per_hour:,.2f}", "-" if cost is None else f"{cost:,.2f}", str(choice.nodes), _size(choice), choice.precision,
        str(choice.parallel.tensor), str(choice.parallel.pipeline), str(choice.pipelines),
        ("~" if prediction.extrapolated else "") + seconds(prediction.times.latency),
        f"{prediction.requests_s.value:,.0f} ({prediction.requests_s.low:,.0f} to {prediction.requests_s.high:,.0f})",
    ]  # fmt: skip


def _size(choice: Choice) -> str:
    notes = [note for note, applies in (("spot", choice.spot), ("retired", choice.size.retired_on)) if applies]
    return ", ".join([choice.size.name, *_elsewhere(choice), *notes])


def _elsewhere(choice: Choice) -> list[str]:
    return [choice.region] if choice.region != choice.settings.azure.location else []


def short(choice: Choice) -> str:
    """Describes a layout in a few words, for a legend or a table cell."""
    return ", ".join([f"{choice.nodes} x {choice.size.name}", choice.precision, f"TP {choice.parallel.tensor}", *_elsewhere(choice)])


def summary(choice: Choice) -> str:
    """Describes a layout with its price, in one line."""
    layout = _layout(choice.nodes, choice.size.name, choice.precision, choice.parallel, choice.pipelines)
    return (
        f"{', '.join([layout, *_elsewhere(choice)])}: {choice.usd_per_hour:,.2f} USD an hour{' at the spot price' if choice.spot else ''}"
    )


def quota(choice: Choice) -> str:
    """Names the quota that the layout needs, and the command that shows the quota of the subscription."""
    return (
        f"quota needed: {choice.quota_vcpus:,} vCPUs of {choice.quota_family} in {choice.region} (see az vm list-usage "
        f"--location {choice.region})"
    )


def current_layout(assessment: Assessment) -> str:
    """Describes the layout that the stack deploys, with its price, in one line."""
    plan = assessment.plan
    if plan is None:
        return f"there is no plan: {assessment.problem}"
    split, precision = stack_memory.parallel(plan.settings, plan.gpu, assessment.shape), stack_memory.precisions(plan.settings)[0]
    return f"{_layout(plan.nodes, plan.size.name, precision, split, plan.pipelines)}: {price(plan)}"


def price(plan: Plan) -> str:
    """Returns the price of the GPU nodes as planned and, in parentheses, of the fewest and the most that the autoscalers allow."""
    if plan.usd_per_hour is None or plan.usd_per_hour_bounds is None:
        return "price unknown"
    planned, (least, most) = f"{plan.usd_per_hour:,.2f} USD an hour", plan.usd_per_hour_bounds
    return planned if least == most else f"{planned} (the autoscalers allow {least:,.2f} to {most:,.2f})"


def _layout(nodes: int, size: str, precision: str, split: Parallel, pipelines: int) -> str:
    stages = f" of {count(split.pipeline, 'stage')}" if split.pipeline > 1 else ""
    return f"{nodes} x {size}, {precision}, tensor parallel {split.tensor}, {count(pipelines, 'pipeline')}{stages}"


def two_lines(assessment: Assessment) -> tuple[str, str]:
    """Returns two sentences: how the current layout does against the targets, and the cheapest layout that meets them."""
    return _judgement(assessment), _cheapest(assessment)


def tally(assessment: Assessment) -> str:
    """Says in a few words how many targets the current layout meets or misses."""
    outcomes = [verdict.outcome for verdict in assessment.verdicts]
    missed, doubted, targets = outcomes.count("missed"), outcomes.count("in doubt"), count(len(outcomes), "target")
    if not outcomes:
        return "no prediction"
    if not missed:
        return f"may miss {doubted} of {targets}" if doubted else f"meets all {targets}"
    return f"misses {missed} of {targets}" + (f", and may miss {doubted} more" if doubted else "")


def _judgement(assessment: Assessment) -> str:
    prediction, load = assessment.prediction, assessment.result.load
    if prediction is None:
        return f"Targets: there is no prediction: {assessment.problem}"
    verdicts = ", ".join(f"{verdict.key.removeprefix('targets.')} {verdict.outcome}" for verdict in assessment.verdicts)
    latency = f"{load.judged_tokens:,} tokens take {seconds(prediction.times.latency)} with {load.users:,} users"
    floor = f"{figure(prediction.floor_s)} s"
    if prediction.floor_s > load.latency_s:
        target = (
            f"the target of {load.latency_s:g} s is out of reach: this layout needs {floor} even for one user, {why_no_less(prediction)}"
        )
    else:
        target = f"the target is {load.latency_s:g} s and the layout's limit {floor}"
    within = f"up to {figure(prediction.requests_s.value)} requests/s within {load.latency_s:g} s"
    rate = within if prediction.requests_s.value else f"{figure(prediction.requests_s_of_users)} requests/s"
    return f"Targets: {verdicts}. {latency}; {target}. The layout serves {rate}; the target is {figure(load.requests_s)}."


def _cheapest(assessment: Assessment) -> str:
    if not assessment.result.choices:
        return f"No layout meets them: {impossible(assessment)}."
    if not assessment.alternatives:
        return f"The cheapest layout that meets them uses fewer bits, which changes the answers: {summary(assessment.result.choices[0])}."
    best = assessment.alternatives[0]
    if not yaml_switch.changes(assessment.asked, best):
        return f"No layout that meets them is cheaper than {summary(best)}."
    return f"The cheapest layout that meets them: {summary(best)}; it needs a quota of {best.quota_vcpus:,} vCPUs of {best.quota_family}."


def _longer(seconds: float) -> str:
    """Rounds a time up to a duration that a setting can have."""
    return f"{math.ceil(seconds * 1000)}ms" if seconds < 10 else f"{math.ceil(seconds)}s"


def impossible(assessment: Assessment) -> str:
    """Says why no layout meets the targets, with the physical limit, and what would have to change."""
    found, targets = assessment.result, assessment.asked.targets
    best, load = found.best_effort, found.load
    if unfit := too_long(load, assessment.shape, longest_request(assessment.asked, assessment.shape)):
        return unfit
    if not found.priced:
        regions = ", ".join(assessment.options.regions or (assessment.asked.azure.location,))
        price_kind = "spot price" if assessment.options.spot else "price"
        return f"no VM size on sale has a {price_kind} in {regions}; choose another region with --region, or all"
    if best is None:
        more = f"a targets.gpuMemory above {targets.gpu_memory}, " if targets.gpu_memory.fraction < 1 else ""
        return f"{assessment.shape.name} fits on no VM size of the region; choose a smaller model, fewer bits, {more}or another region"
    quickest, alone = f"{best.gpu} x {best.tensor} in {best.precision}", best.alone_s
    if best.floor_s > load.latency_s:
        return (
            f"the fastest, {quickest}, needs at least {figure(best.floor_s)} s to read the weights {load.judged_tokens:,} times, and the "
            f"target is {load.latency_s:g} s; choose a targets.latency of more than {_longer(alone.high)}, fewer targets.tokens, or a "
            "smaller "
            "model"
        )
    if not best.requests_s:
        return (
            f"the fastest, {quickest}, takes {seconds(alone)} for one request alone, {figure(best.floor_s)} s at best; "
            f"choose a targets.latency of {_longer(alone.high)} or more, fewer targets.tokens, or a smaller model"
        )
    if best.busy < targets.gpu_utilization.fraction:
        return (
            f"of the layouts that are fast enough, the busiest runs kernels {best.busy:.0%} of the time, and the target is "
            f"{targets.gpu_utilization}; choose a lower targets.gpuUtilization"
        )
    return (
        f"{MOST_PIPELINES} pipelines, the most that a stack can have, serve {figure(best.requests_s)} requests/s within "
        f"{load.latency_s:g} s, and the target is {figure(load.requests_s)} with {load.users:,} users; choose lower targets, or a longer "
        "targets.latency"
    )
