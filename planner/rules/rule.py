"""What a planner's rule is, and how rules run: each sees the stack as the rules before it left it, and yields findings about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import EngineTraits, traits
from planner.fit.plan import NOT_SET, Finding
from settings import StackSettings
from settings.flatten import leaves, text_of, with_values


@dataclass(frozen=True, kw_only=True)
class RuleContext:
    """What a rule may look at."""

    settings: StackSettings
    """The stack, with every value that the rules before have changed."""
    size: GpuSize
    gpu: Gpu
    shape: ModelShape

    @property
    def traits(self) -> EngineTraits:
        """The engine's traits on this GPU."""
        return traits(self.settings.engine, self.gpu)


Rule = Callable[[RuleContext], Iterator[Finding]]


class Rules(list[Rule]):
    """The rules of one subject. They run in the order in which their functions stand in the file."""

    def rule(self, function: Rule) -> Rule:
        """Adds a rule: a decorator for its function."""
        self.append(function)
        return function


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A stack with every change made that the rules ask for, and their findings."""

    settings: StackSettings
    findings: tuple[Finding, ...]
    """The findings, whose `asked` and `given` are still empty: `completed` fills them in."""


def fitted(context: RuleContext, rules: Iterable[Rule]) -> Fitted:
    """Runs the rules in order. Each sees what the ones before it changed."""
    findings: list[Finding] = []
    for rule in rules:
        new = tuple(rule(context))
        values = {finding.path: finding.value for finding in new if finding.value is not None}
        context = replace(context, settings=with_values(context.settings, values))
        findings += new
    return Fitted(settings=context.settings, findings=tuple(findings))


def completed(findings: Iterable[Finding], asked: StackSettings, deployed: StackSettings) -> tuple[Finding, ...]:
    """Fills in what each setting is in the stack file and what is deployed.

    With `sizing.mode: verbatim` a value that a rule asks for is not deployed. The finding then says what it would have been, and is noted;
    what the engine, the GPU or the node cannot do stays not supported.
    """
    asked_values, deployed_values = leaves(asked), leaves(deployed)
    return tuple(_completed(finding, asked_values, deployed_values) for finding in findings)


def _completed(finding: Finding, asked_values: dict[str, str], deployed_values: dict[str, str]) -> Finding:
    asked, deployed = asked_values.get(finding.key, NOT_SET), deployed_values.get(finding.key, NOT_SET)
    if finding.value is None or deployed == text_of(finding.value):
        return replace(finding, asked=asked, given=finding.given or deployed)
    kept = f"{finding.because}; kept as written, `sizing: {{mode: fitted}}` would give {text_of(finding.value)}"
    outcome = "not supported" if finding.outcome == "not supported" else "noted"
    return replace(finding, outcome=outcome, asked=asked, given=asked, because=kept)
