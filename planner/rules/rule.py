"""What a planner's rule is, and how rules run: each looks at the stack as the rules before it left it, and may advise changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import EngineTraits, traits
from planner.fit.plan import Finding
from settings import StackSettings
from settings.error_messages import SettingPath, key_text
from settings.flatten import leaves, text_of, with_values

NOT_SET = "not set"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a rule may look at."""

    settings: StackSettings
    """With what the rules before have advised."""
    size: GpuSize
    gpu: Gpu
    shape: ModelShape

    @property
    def traits(self) -> EngineTraits:
        return traits(self.settings.engine, self.gpu)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a rule has to say about one setting. With a `value`, that is what the setting would have to be."""

    code: str
    outcome: Literal["adjusted", "translated", "not supported", "noted"]
    path: SettingPath
    """In the stack file; items of named lists by their name, as `settings.leaves.with_values` takes it."""
    because: str
    source: str
    value: Any = None
    given: str = ""
    """What is honoured instead, where that is not another value of the same setting."""
    severity: Literal["info", "warning"] = "warning"

    @property
    def key(self) -> str:
        return key_text(self.path)


Rule = Callable[[Situation], Iterator[Advice]]


@dataclass(frozen=True, kw_only=True)
class Advised:
    """The stack with everything done that the rules advise, and what they said."""

    settings: StackSettings
    advice: tuple[Advice, ...]


def advised(situation: Situation, rules: Iterable[Rule]) -> Advised:
    """Runs the rules in order; each sees what the ones before it changed."""
    said: list[Advice] = []
    for rule in rules:
        new = tuple(rule(situation))
        values = {advice.path: advice.value for advice in new if advice.value is not None}
        situation = replace(situation, settings=with_values(situation.settings, values))
        said += new
    return Advised(settings=situation.settings, advice=tuple(said))


def findings(asked: StackSettings, deployed: StackSettings, advice: Iterable[Advice]) -> tuple[Finding, ...]:
    """The advice as findings about the stack as it was asked for and as it is deployed.

    Where a value was advised and is not deployed (`sizing.mode: verbatim`), the finding says what it would have been.
    """
    written, given = leaves(asked), leaves(deployed)
    found = []
    for said in advice:
        value = written.get(said.key, NOT_SET)
        kept = said.value is not None and given.get(said.key) != text_of(said.value)
        found.append(
            Finding(
                code=said.code,
                severity=said.severity,
                outcome="noted" if kept else said.outcome,
                key=said.key,
                asked=value,
                given=value if kept else said.given or given.get(said.key, NOT_SET),
                because=f"{said.because}; kept as written, `sizing: {{mode: fitted}}` would give {text_of(said.value)}"
                if kept
                else said.because,
                source=said.source,
            )
        )
    return tuple(found)
