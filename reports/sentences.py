"""An assessment in sentences and cells: what the terminal, the HTML page and the preview have in common."""

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
from settings.wording import count, figure

COLUMNS = ("USD/hour", "USD/M tokens", "nodes", "size", "weights", "TP", "PP", "pipelines", "latency", "requests/s")


def asked(assessment: Assessment) -> str:
    """Load and targets."""
    load, targets = assessment.found.load, assessment.asked.targets
    return (
        f"{load.users:,} requests in flight of {load.input_tokens:,} + {load.output_tokens:,} tokens; wanted {targets.latency} for "
        f"{targets.tokens:,} tokens and {figure(targets.throughput_rps)} requests/s"
    )


def basis(assessment: Assessment) -> str:
    """Whose measurements stand behind the predictions, and what counts as meeting a target."""
    of_engine = traits(assessment.asked.engine)
    whose = of_engine.performs_like + ("" if of_engine.measured else f", as there are none of {assessment.asked.engine}")
    sized = "the estimate" if assessment.wish.expected else "the slow end of the estimate's range"
    return (
        f"Predicted from measurements of {whose}, for the average request (~ beyond what was measured). A target is met when {sized} does."
    )


def row(choice: Choice) -> list[str]:
    """A layout's cells below `COLUMNS`."""
    one = choice.predict()
    cost = one.usd_per_million_tokens(choice.usd_per_hour)
    return [
        f"{choice.usd_per_hour:,.2f}", "-" if cost is None else f"{cost:,.2f}", str(choice.nodes), _size(choice), choice.precision,
        str(choice.parallel.tensor), str(choice.parallel.pipeline), str(choice.pipelines),
        "~" * one.extrapolated + seconds(one.times.latency),
        f"{one.requests_s.value:,.0f} ({one.requests_s.low:,.0f} to {one.requests_s.high:,.0f})",
    ]  # fmt: skip


def _size(choice: Choice) -> str:
    notes = [note for note, is_so in (("spot", choice.spot), ("retired", choice.size.retired_on)) if is_so]
    return ", ".join([choice.size.name, *_elsewhere(choice), *notes])


def _elsewhere(choice: Choice) -> list[str]:
    return [choice.region] if choice.region != choice.settings.azure.location else []


def short(choice: Choice) -> str:
    """A few words a layout, for a legend or a table's cell."""
    return ", ".join([f"{choice.nodes} x {choice.size.name}", choice.precision, f"TP {choice.parallel.tensor}", *_elsewhere(choice)])


def summary(choice: Choice) -> str:
    """One line a layout."""
    layout = _layout(choice.nodes, choice.size.name, choice.precision, choice.parallel, choice.pipelines)
    return f"{', '.join([layout, *_elsewhere(choice)])}: {choice.usd_per_hour:,.2f} USD an hour{' at the spot price' * choice.spot}"


def quota(choice: Choice) -> str:
    """What the subscription has to be allowed before the layout can be made, and how to see whether it is."""
    return (
        f"quota needed: {choice.quota_vcpus:,} vCPUs of {choice.quota_family} in {choice.region} (az vm list-usage --location "
        f"{choice.region} shows what there is)"
    )


def as_it_is(assessment: Assessment) -> str:
    """The same of the stack's own layout."""
    made = assessment.plan
    if made is None:
        return f"no plan; {assessment.problem}"
    split, precision = stack_memory.parallel(made.settings, made.gpu, assessment.shape), stack_memory.precisions(made.settings)[0]
    return f"{_layout(made.nodes, made.size.name, precision, split, made.pipelines)}: {price(made)}"


def price(made: Plan) -> str:
    """Of the GPU nodes as planned, and of the fewest and the most that the autoscalers allow."""
    if made.usd_per_hour is None or made.usd_per_hour_bounds is None:
        return "no price known"
    planned, (least, most) = f"{made.usd_per_hour:,.2f} USD an hour", made.usd_per_hour_bounds
    return planned if least == most else f"{planned} (the autoscalers allow {least:,.2f} to {most:,.2f})"


def _layout(nodes: int, size: str, precision: str, split: Parallel, pipelines: int) -> str:
    stages = f" of {count(split.pipeline, 'stage')}" if split.pipeline > 1 else ""
    return f"{nodes} x {size}, {precision}, tensor parallel {split.tensor}, {count(pipelines, 'pipeline')}{stages}"


def two_lines(assessment: Assessment) -> tuple[str, str]:
    """Whether the stack's own layout meets the targets, with the floor, and the cheapest that would."""
    return _judgement(assessment), _cheapest(assessment)


def tally(assessment: Assessment) -> str:
    """In a few words, how the stack's own layout does."""
    outcomes = [verdict.outcome for verdict in assessment.verdicts]
    missed, doubted, of = outcomes.count("missed"), outcomes.count("in doubt"), count(len(outcomes), "target")
    if not outcomes:
        return "no prediction"
    if not missed:
        return f"may miss {doubted} of {of}" if doubted else f"meets all {of}"
    return f"misses {missed} of {of}" + f", and may miss {doubted} more" * bool(doubted)


def _judgement(assessment: Assessment) -> str:
    one, load = assessment.prediction, assessment.found.load
    if one is None:
        return f"Targets: no prediction; {assessment.problem}"
    said = ", ".join(f"{verdict.key.removeprefix('targets.')} {verdict.outcome}" for verdict in assessment.verdicts)
    takes = f"{load.judged_tokens:,} tokens take {seconds(one.times.latency)} with {load.users:,} users, wanted {load.latency_s:g} s"
    floor = f"{figure(one.floor_s)} s"
    out_of_reach = f"this layout needs {floor} even for one user, {why_no_less(one)}"
    within = f"up to {figure(one.requests_s.value)} requests/s within {load.latency_s:g} s"
    rate = within if one.requests_s.value else f"{figure(one.requests_s_of_users)} requests/s"
    why = f": {out_of_reach}" if one.floor_s > load.latency_s else f" ({floor} at best)"
    return f"Targets: {said}. {takes}{why}; {rate}, wanted {figure(load.requests_s)}."


def _cheapest(assessment: Assessment) -> str:
    if not assessment.found.choices:
        return f"No layout meets them: {impossible(assessment)}."
    if not assessment.alternatives:
        return f"The cheapest that meets them changes the answers: {summary(assessment.found.choices[0])}."
    best = assessment.alternatives[0]
    if not yaml_switch.changes(assessment.asked, best):
        return f"Nothing that meets them is cheaper than {summary(best)}."
    return f"The cheapest that meets them: {summary(best)}; its quota: {best.quota_vcpus:,} vCPUs of {best.quota_family}."


def _longer(seconds: float) -> str:
    """A duration of the settings that is no shorter."""
    return f"{math.ceil(seconds * 1000)}ms" if seconds < 10 else f"{math.ceil(seconds)}s"


def impossible(assessment: Assessment) -> str:
    """Why nothing meets the targets: the floor, and what would have to change."""
    found, targets = assessment.found, assessment.asked.targets
    best, load = found.best_effort, found.load
    if unfit := too_long(load, assessment.shape, longest_request(assessment.asked, assessment.shape)):
        return unfit
    if not found.priced:
        regions = ", ".join(assessment.wish.regions or (assessment.asked.azure.location,))
        return f"no size that is sold has a {'spot ' * assessment.wish.spot}price in {regions}; --region with another, or all"
    if best is None:
        more = f"a targets.gpuMemory of more than {targets.gpu_memory}, " * (targets.gpu_memory.fraction < 1)
        return f"{assessment.shape.name} fits no size of the region; a smaller model, fewer bits, {more}or another region"
    quickest, alone = f"{best.gpu} x {best.tensor} in {best.precision}", best.alone_s
    if best.floor_s > load.latency_s:
        return (
            f"the quickest, {quickest}, reads the weights {load.judged_tokens:,} times in {figure(best.floor_s)} s at best, against "
            f"{load.latency_s:g} s; targets.latency of more than {_longer(alone.high)}, fewer targets.tokens, or a smaller model"
        )
    if not best.requests_s:
        return (
            f"the quickest, {quickest}, takes {seconds(alone)} for one request alone, {figure(best.floor_s)} s at best; "
            f"targets.latency of {_longer(alone.high)} or more, fewer targets.tokens, or a smaller model"
        )
    if best.busy < targets.gpu_utilization.fraction:
        return (
            f"of the layouts that are quick enough, the busiest runs kernels {best.busy:.0%} of the time, against "
            f"{targets.gpu_utilization}; a lower targets.gpuUtilization"
        )
    return (
        f"the most that 256 pipelines reach within {load.latency_s:g} s is {figure(best.requests_s)} requests/s, against "
        f"{figure(load.requests_s)} and {load.users:,} users; fewer of them, or a longer targets.latency"
    )
