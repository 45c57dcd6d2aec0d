"""Judges a stack by its targets: the layout that it deploys, and the layouts that would meet them."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.model_shapes import ModelShape
from planner.fit.concurrency import longest_request
from planner.fit.demand import demand_of, too_long
from planner.fit.plan import Plan
from planner.fit.verdicts import Prediction, Verdict, predict, verdicts
from planner.performance.published_rows import Impossible
from planner.recommend.choice import Choice, SearchOptions, SearchResult, bits
from planner.recommend.search import search
from planner.rules.planning import plan, shape_of
from settings import SettingsError, StackSettings

ALTERNATIVES = 3
"""How many layouts of different sizes a plan shows beside its own."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A stack's own plan with its verdicts, and the result of the search for layouts that meet its targets."""

    asked: StackSettings
    """The stack file's settings, before the planner fits them."""
    shape: ModelShape
    options: SearchOptions
    plan: Plan | None
    """None when the stack cannot be planned."""
    problem: str
    """Why there is no plan or no prediction; empty when there are both."""
    prediction: Prediction | None
    verdicts: tuple[Verdict, ...]
    result: SearchResult

    @property
    def alternatives(self) -> tuple[Choice, ...]:
        """The cheapest layouts of different sizes whose weights have at least as many bits as the stack's."""
        return self.result.best(ALTERNATIVES, bits(self.asked))

    @property
    def meets(self) -> bool:
        """Whether every target is met."""
        return bool(self.verdicts) and all(verdict.outcome == "met" for verdict in self.verdicts)


def assess(asked: StackSettings, options: SearchOptions | None = None, *, planned: Plan | None = None) -> Assessment:
    """Plans a stack, judges the plan, and searches for layouts that meet the targets.

    `planned` is the stack's plan, if the caller has it already. Raises SettingsError where the catalogue does not know the model.
    """
    shape, options, problem = shape_of(asked), options or SearchOptions(), ""
    if planned is None:
        try:
            planned = plan(asked)
        except SettingsError as error:
            problem = "; ".join(f"{problem.key}: {problem.consequence}" for problem in error.problems)
    prediction = None
    longest = planned.request_tokens if planned else longest_request(asked, shape)
    problem = problem or too_long(demand_of(asked), shape, longest)
    if planned is not None and not problem:
        try:
            prediction = predict(planned.settings, planned.size, planned.gpu, shape, demand_of(asked))
        except Impossible as error:
            problem = str(error)
    return Assessment(
        asked=asked,
        shape=shape,
        options=options,
        plan=planned,
        problem=problem,
        prediction=prediction,
        verdicts=verdicts(planned.settings, prediction) if planned and prediction else (),
        result=search(asked, shape, options),
    )
