"""An assessment in sentences and cells: what the terminal, the HTML page and the preview have in common."""

from __future__ import annotations

from planner import gpu_memory
from planner.choices import lines
from planner.choices.assessment import Assessment
from planner.choices.choice import Choice
from planner.choices.verdicts import seconds
from planner.engine_traits import traits
from planner.gpu_memory import Parallel
from planner.wording import count

COLUMNS = ("USD/hour", "USD/M tokens", "nodes", "size", "weights", "TP", "PP", "pipelines", "latency", "requests/s")


def asked(assessment: Assessment) -> str:
    """Load and targets."""
    load, targets = assessment.found.load, assessment.asked.targets
    return (
        f"{load.users:,} requests in flight of {load.input_tokens:,} + {load.output_tokens:,} tokens; wanted {targets.latency} for "
        f"{targets.tokens:,} tokens and {targets.throughput_rps:g} requests/s"
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


def as_it_is(assessment: Assessment) -> str:
    """The same of the stack's own layout."""
    made = assessment.plan
    if made is None:
        return f"no plan; {assessment.problem}"
    split, precision = gpu_memory.parallel(made.settings, made.gpu, assessment.shape), gpu_memory.precisions(made.settings)[0]
    price = "no price known" if made.usd_per_hour is None else f"{made.usd_per_hour:,.2f} USD an hour"
    return f"{_layout(made.nodes, made.size.name, precision, split, made.pipelines)}: {price}"


def _layout(nodes: int, size: str, precision: str, split: Parallel, pipelines: int) -> str:
    stages = f" of {count(split.pipeline, 'stage')}" if split.pipeline > 1 else ""
    return f"{nodes} x {size}, {precision}, tensor parallel {split.tensor}, {count(pipelines, 'pipeline')}{stages}"


def two_lines(assessment: Assessment) -> tuple[str, str]:
    """Whether the stack's own layout meets the targets, with the floor, and the cheapest that would."""
    return _judgement(assessment), _cheapest(assessment)


def _judgement(assessment: Assessment) -> str:
    one, load = assessment.prediction, assessment.found.load
    if one is None:
        return f"Targets: no prediction; {assessment.problem}"
    said = ", ".join(f"{verdict.key.removeprefix('targets.')} {verdict.outcome}" for verdict in assessment.verdicts)
    within = f"up to {one.requests_s.value:,.3g} requests/s within {load.latency_s:g} s"
    rate = within if one.requests_s.value else f"{one.requests_s_of_users:,.3g} requests/s"
    return (
        f"Targets: {said}. With {load.users:,} users {seconds(one.times.latency)} for {load.judged_tokens:,} tokens, of which reading the "
        f"weights takes {one.floor_s:.2g} s at best, wanted {load.latency_s:g} s; {rate}, wanted {load.requests_s:g}."
    )


def _cheapest(assessment: Assessment) -> str:
    if not assessment.found.choices:
        return f"No layout meets them: {impossible(assessment)}."
    if not assessment.alternatives:
        return f"The cheapest that meets them changes the answers: {summary(assessment.found.choices[0])}."
    best = assessment.alternatives[0]
    if not lines.changes(assessment.asked, best):
        return f"Nothing that meets them is cheaper than {summary(best)}."
    return f"The cheapest that meets them: {summary(best)}."


def impossible(assessment: Assessment) -> str:
    """Why nothing meets the targets: the floor, and what would have to change."""
    best, load = assessment.found.best_effort, assessment.found.load
    if best is None:
        return f"{assessment.shape.name} fits no size of the region; a smaller model, fewer bits, or another region"
    quickest = f"{best.gpu} x {best.tensor} in {best.precision}"
    if best.floor_s > load.latency_s:
        return (
            f"the quickest, {quickest}, reads the weights {load.judged_tokens} times in {best.floor_s:.3g} s at best, against "
            f"{load.latency_s:g} s; targets.latency of more than {best.alone_s.high:.3g}s, fewer targets.tokens, or a smaller model"
        )
    if not best.requests_s:
        return (
            f"the quickest, {quickest}, takes {seconds(best.alone_s)} for one request alone, {best.floor_s:.3g} s at best; "
            f"targets.latency of {best.alone_s.high:.3g}s or more, fewer targets.tokens, or a smaller model"
        )
    return (
        f"the most that 256 pipelines reach within {load.latency_s:g} s is {best.requests_s:,.0f} requests/s, against "
        f"{load.requests_s:,g} and {load.users:,} users; fewer of them, or a longer targets.latency"
    )
