"""The plan as one self-contained HTML page, without scripts, fonts or pictures from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from planner.catalogue import hardware
from planner.catalogue.hardware import GpuSize
from planner.fit import stack_memory
from planner.fit.serving import Pipeline, pipeline
from planner.recommend.assessment import Assessment
from planner.recommend.choice import Choice, bits
from planner.recommend.what_if import WhatIf, what_ifs
from reports import charts, sentences, yaml_switch
from settings import StackSettings

_STYLE = Path(__file__).with_name("html.css")
_PARTS = {
    "weights": "weights", "kv": "KV cache", "activations": "activations", "reserve": "reserve and libraries", "free": "free"
}  # fmt: skip
_ROWS = 40
_STEPS = 28


def page(assessment: Assessment, stack: str) -> str:
    """Returns the whole document."""
    title = f"{stack}: {assessment.shape.name} {sentences.tally(assessment)}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _answer(assessment),
        f'<p class="faint">{escape(assessment.asked.engine)}: {escape(sentences.asked(assessment))}. '
        f"{escape(sentences.basis(assessment))}</p>",
        _cards(assessment),
        _frontier(assessment),
        _costs(assessment),
        _memory(assessment),
        _what_if(tuple(what_ifs(assessment))),
        _layouts(assessment),
        _switch(assessment),
        _rejected(assessment),
        "<footer>Prices: planner/catalogue/data/prices.csv. Estimates: docs/performance-model.md, with their errors. Costs are those of "
        "the "
        "GPU nodes: Redis, the system pool, storage and traffic are not included.</footer>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
    body = "\n".join(sections)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>\n{_STYLE.read_text()}</style></head>\n<body>\n{body}\n</body></html>\n'


def _answer(assessment: Assessment) -> str:
    return "".join(f'<p class="answer">{escape(line)}</p>' for line in sentences.two_lines(assessment))


def _cards(assessment: Assessment) -> str:
    cards = "".join(
        f'<div class="card"><b>{escape(verdict.key.removeprefix("targets."))}</b>'
        f'<div class="outcome {verdict.outcome.split()[-1]}">{verdict.outcome}</div><p class="faint">target: {escape(verdict.asked)}</p>'
        f"<p>{escape(verdict.predicted)}</p></div>"
        for verdict in assessment.verdicts
    )
    return f"<h2>The current layout</h2><p class='faint'>{escape(sentences.current_layout(assessment))}</p><div class='cards'>{cards}</div>"


def _series(assessment: Assessment) -> list[tuple[str, str, Pipeline, int]]:
    """Returns the name, CSS class, one pipeline and the number of pipelines of the current layout and of each alternative."""
    plan, load = assessment.plan, assessment.result.load
    entries = []
    if plan is not None and assessment.prediction is not None:
        one_pipeline = pipeline(plan.settings, plan.size, plan.gpu, assessment.shape, load)
        entries.append((f"current: {plan.nodes} x {plan.size.name}", "series-0", one_pipeline, plan.pipelines))
    others = (choice for choice in assessment.alternatives if yaml_switch.changes(assessment.asked, choice))
    for number, choice in enumerate(others, start=1):
        one_pipeline = pipeline(choice.settings, choice.size, choice.gpu, choice.shape, load)
        entries.append((sentences.short(choice), f"series-{number}", one_pipeline, choice.pipelines))
    return entries


def _frontier(assessment: Assessment) -> str:
    load, drawn, entries = assessment.result.load, [], _series(assessment)
    for name, style, one_pipeline, pipelines in entries:
        most = max(2 * load.users / pipelines, 2.0)
        # The curve starts a little above one request, because a request alone is estimated from other measurements, which shows as a step.
        steps = [most ** (index / _STEPS) for index in range(1, _STEPS + 1)]
        for bound, dashed in (("value", False), ("high", True)):
            points = tuple(
                (pipelines * one_pipeline.requests_s(users, bound), getattr(one_pipeline.at(users).latency, bound)) for users in steps
            )
            users = load.users / pipelines
            here = (pipelines * one_pipeline.requests_s(users), one_pipeline.at(users).latency.value)
            words = f"{load.users} in flight: {here[0]:.3g} requests/s, {here[1]:.3g} s"
            marks = () if dashed else (charts.Mark(x=here[0], y=here[1], words=words, shown=style == "series-0"),)
            drawn.append(charts.Line(name=name, style=style, points=points, dashed=dashed, marks=marks))
    if not drawn:
        return ""
    chart = charts.lines(
        "Latency against throughput", drawn, x_name="requests/s", y_name=f"seconds for {load.judged_tokens} tokens",
        at_least_x=load.requests_s, at_most_y=load.latency_s,
    )  # fmt: skip
    return (
        "<h2>Latency against throughput</h2><p class='faint'>Each line runs from one request per pipeline to twice the users in flight. "
        f"Dashed lines are the slow end of the estimate's range. Dots mark {load.users:,} requests in flight.</p>"
        + charts.legend((style, name) for name, style, _, _ in entries)
        + f"<div class='wide'>{chart}</div>"
    )


def _cheapest_by_size(assessment: Assessment) -> list[Choice]:
    """Returns, for each size, the cheapest layout with at least the bits asked for, and the cheapest of all if it has fewer bits."""
    best = assessment.result.best(len(assessment.result.choices), bits(assessment.asked))
    fewer = assessment.result.best(len(assessment.result.choices), 0)
    known = {(choice.size.name, choice.region) for choice in best}
    return sorted([*best, *(choice for choice in fewer if (choice.size.name, choice.region) not in known)], key=_token_cost)


def _token_cost(choice: Choice) -> float:
    cost = choice.predict().usd_per_million_tokens(choice.usd_per_hour)
    assert cost is not None, "a choice keeps the latency target"
    return cost


def _costs(assessment: Assessment) -> str:
    choices = _cheapest_by_size(assessment)
    if not choices:
        return ""
    least = bits(assessment.asked)
    rows = [
        charts.Bar(
            name=f"{choice.size.name}, {choice.precision}",
            parts=((_token_cost(choice), "series-1" if _bits_of(choice) >= least else "series-0", sentences.summary(choice)),),
            text=f"{_token_cost(choice):,.2f} USD",
        )
        for choice in choices
    ]
    return (
        "<h2>Cost per million output tokens</h2><p class='faint'>The cheapest layout of each size that meets the targets, at the rate that "
        "keeps the latency target at the slow end of the range. Grey bars use fewer bits than asked for, which changes the answers.</p>"
        f"<div class='wide'>{charts.bars('Cost per million output tokens', rows)}</div>"
    )


def _bits_of(choice: Choice) -> int:
    return bits(choice.settings)


def _memory(assessment: Assessment) -> str:
    entries: list[tuple[str, StackSettings, GpuSize, hardware.Gpu]] = []
    if assessment.plan is not None:
        entries.append((f"current: {assessment.plan.size.gpu}", assessment.plan.settings, assessment.plan.size, assessment.plan.gpu))
    entries += [(f"{choice.gpu.name}, {choice.precision}", choice.settings, choice.size, choice.gpu) for choice in assessment.alternatives]
    rows = []
    for name, settings, _, gpu in entries:
        memory = stack_memory.tightest(settings, gpu, assessment.shape).memory
        parts = []
        for key, part in _PARTS.items():
            gib = max(getattr(memory, f"{key}_gib"), 0.0)
            parts.append((gib, f"part-{key}", f"{part} {gib:.2f} GiB"))
        rows.append(charts.Bar(name=name, parts=tuple(parts), text=f"{memory.total_gib:.1f} GiB"))
    if not rows:
        return ""
    return (
        "<h2>Memory of a GPU</h2><p class='faint'>The pipeline stage with the least room decides.</p>"
        + charts.legend((f"part-{key}", part) for key, part in _PARTS.items())
        + f"<div class='wide'>{charts.bars('Memory of a GPU', rows)}</div>"
    )


def _what_if(cases: Sequence[WhatIf]) -> str:
    base = cases[0].choice
    rows = []
    for case in cases:
        if case.choice is None:
            rows.append([case.what, "no layout meets the targets", "", ""])
            continue
        change = f"{case.choice.usd_per_hour / base.usd_per_hour - 1:+.0%}" if base else ""
        rows.append([case.what, sentences.short(case.choice), f"{case.choice.usd_per_hour:,.2f}", change.replace("+0%", "")])
    return "<h2>What if</h2>" + _table(["if", "cheapest layout", "USD/hour", "change"], rows, numbers=(2, 3))


def _layouts(assessment: Assessment) -> str:
    if not assessment.result.choices:
        return f"<h2>No layout meets the targets</h2><p>{escape(sentences.impossible(assessment))}</p>"
    rows = [sentences.row(choice) for choice in assessment.result.choices[:_ROWS]]
    more = len(assessment.result.choices) - len(rows)
    return (
        f"<h2>Layouts that meet the targets</h2><p class='faint'>{len(assessment.result.choices):,} of {assessment.result.looked_at:,}, "
        "cheapest first.</p>"
        + _table(sentences.COLUMNS, rows, numbers=(0, 1, 2, 5, 6, 7))
        + (f"<p class='faint'>And {more:,} more.</p>" if more else "")
    )


def _switch(assessment: Assessment) -> str:
    blocks = [
        f"<p>{escape(sentences.summary(choice))}<br><span class='faint'>{escape(sentences.quota(choice))}</span></p>"
        f"<pre>{escape(yaml_switch.lines(assessment.asked, choice) or '# the current layout: nothing to change')}</pre>"
        for choice in assessment.alternatives
    ]
    return "<h2>How to switch</h2>" + "".join(blocks) if blocks else ""


def _rejected(assessment: Assessment) -> str:
    rows = [[f"{count:,}", reason] for reason, count in assessment.result.rejected.most_common()]
    return "<h2>Why the other layouts do not meet the targets</h2>" + _table(["layouts", "because"], rows, numbers=(0,))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: tuple[int, ...]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=number' * (index in numbers)}>{escape(cell)}</{tag}>" for index, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table></div>"
