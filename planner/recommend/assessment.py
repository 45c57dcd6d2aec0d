"""A stack against its targets: the layout that it deploys, and those that would do."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.model_shapes import ModelShape
from planner.fit.concurrency import longest_request
from planner.fit.demand import load_of, too_long
from planner.fit.plan import Plan
from planner.fit.verdicts import Prediction, Verdict, predict, verdicts
from planner.performance.published_rows import Impossible
from planner.recommend.choice import Choice, Found, Wish, bits
from planner.recommend.search import search
from planner.rules.planning import plan, shape_of
from settings import SettingsError, StackSettings

ALTERNATIVES = 3


@dataclass(frozen=True, kw_only=True)
class Assessment:
    asked: StackSettings
    shape: ModelShape
    wish: Wish
    plan: Plan | None
    """None when the stack cannot be planned."""
    problem: str
    """Why there is no plan or no prediction; empty when there are both."""
    prediction: Prediction | None
    verdicts: tuple[Verdict, ...]
    found: Found

    @property
    def alternatives(self) -> tuple[Choice, ...]:
        """The cheapest layouts of different sizes whose weights have as many bits as those asked for."""
        return self.found.best(ALTERNATIVES, bits(self.asked))

    @property
    def meets(self) -> bool:
        """Whether every target is met."""
        return bool(self.verdicts) and all(verdict.outcome == "met" for verdict in self.verdicts)


def assess(asked: StackSettings, wish: Wish | None = None, *, made: Plan | None = None) -> Assessment:
    """`made` saves planning anew. Raises SettingsError where the catalogue does not know the model."""
    shape, wish, problem = shape_of(asked), wish or Wish(), ""
    if made is None:
        try:
            made = plan(asked)
        except SettingsError as error:
            problem = "; ".join(f"{one.key}: {one.consequence}" for one in error.problems)
    prediction = None
    longest = made.request_tokens if made else longest_request(asked, shape)
    problem = problem or too_long(load_of(asked), shape, longest)
    if made is not None and not problem:
        try:
            prediction = predict(made.settings, made.size, made.gpu, shape, load_of(asked))
        except Impossible as error:
            problem = str(error)
    return Assessment(
        asked=asked,
        shape=shape,
        wish=wish,
        plan=made,
        problem=problem,
        prediction=prediction,
        verdicts=verdicts(made.settings, prediction) if made and prediction else (),
        found=search(asked, shape, wish),
    )
