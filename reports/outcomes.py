"""What became of each setting: one row a leaf of the stack, from the plan's findings, the engine's words and the places in `infra`.

Nothing is listed here: a row comes from the code that renders. A setting that is rendered nowhere gets the outcome `error`, which
a test refuses for every stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.account import account
from infra.reading import same
from infra.registration import Registration
from planner.fit.plan import NOT_SET, Finding
from settings import StackSettings
from settings.account import Effect, Outcome, Place
from settings.flatten import leaves

ORDER: tuple[Outcome, ...] = ("error", "not supported", "adjusted", "translated", "unused", "passed through", "in force")
"""Those first that a reader must know of. A setting with several outcomes has the first of them."""


_LONGEST_VALUE = 100
"""Letters. A script or a long list is to be read at its place."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one setting."""

    key: str
    """The key as in the stack file: `shard.config.workerThreads`, `shard.env.GC_THREADS`."""
    asked: str
    outcome: Outcome
    given: str
    places: tuple[Place, ...]
    because: str
    source: str
    codes: tuple[str, ...]
    """The codes of the plan's findings about the setting, for docs/findings.md."""
    warns: bool
    """Whether a finding warns of a setting that is deployed as it was asked for."""

    @property
    def change(self) -> str:
        """`24 -> 4`, or the one value that was asked for and is given."""
        return self.asked if self.given == self.asked else f"{self.asked} -> {self.given}"

    @property
    def where(self) -> str:
        """All places, each with its value where that is spelt otherwise than what is given, and short enough to be read here."""
        return "; ".join(map(self.place_text, self.places))

    def place_text(self, place: Place) -> str:
        value = place.holds or ""
        if not value or same(value, self.given) or "\n" in value or len(value) > _LONGEST_VALUE:
            return str(place)
        return f"{place} = {value}"

    def as_json(self) -> dict[str, str]:
        names = ("key", "asked", "outcome", "given", "where", "because", "source")
        return {name: getattr(self, name) for name in names}


def outcomes(asked: StackSettings, registration: Registration) -> tuple[Row, ...]:
    """The rows, in the order of the settings; those that only the plan has, such as a limit that was added, come last."""
    plan, there = registration.plan, account(registration)
    written, given = leaves(asked), leaves(plan.settings)
    found: dict[str, list[Finding]] = {}
    for finding in plan.findings:
        found.setdefault(finding.key, []).append(finding)
    keys = dict.fromkeys((*written, *given, *found))
    return tuple(
        _row(key, written.get(key, NOT_SET), given, tuple(found.get(key, ())), there.get(key, ()), _idle(key, given)) for key in keys
    )


def _row(key: str, asked: str, given: Mapping[str, str], found: tuple[Finding, ...], there: tuple[Effect, ...], idle: str | None) -> Row:
    """`idle`: why nothing reads the setting."""
    said = [*found, *(effect for effect in there if effect.because)]
    strongest = min(found, key=lambda finding: _rank(finding.outcome), default=None)
    decides = strongest if strongest and strongest.outcome != "noted" else next((one for one in there if one.outcome == "translated"), None)
    outcome: Outcome = "error"
    if key not in given and asked == NOT_SET and not decides and not idle:
        # A finding about a setting that was left out, in a stack that is deployed as it was written.
        outcome, reason = "in force", "not set, so nothing is rendered"
    elif not there and not idle:
        reason = "rendered nowhere: no code names where it takes effect with this engine, which is a fault of this program"
    elif decides:
        outcome, reason = _outcome_of(decides), ""
    elif idle:
        outcome, reason = "unused", idle
    else:
        outcome, reason = _outcome_of(there[0]), ""
    return Row(
        key=key,
        asked=asked,
        outcome=outcome,
        given=_given(decides) if decides else given.get(key, NOT_SET),
        places=tuple(effect.place for effect in there if outcome != "unused" or effect.place.holds is not None),
        because="; ".join(_reasons((reason, *(one.because for one in said)))),
        source="; ".join(dict.fromkeys(one.source for one in said if one.source)),
        codes=tuple(dict.fromkeys(finding.code for finding in found)),
        warns=any(finding.severity == "warning" and finding.outcome == "noted" for finding in found),
    )


def _reasons(texts: Iterable[str]) -> list[str]:
    """Each once, also where one is part of another."""
    said: list[str] = []
    for text in texts:
        if not any(text in earlier for earlier in said) and text:
            said.append(text)
    return said


def _given(decides: Finding | Effect) -> str:
    """What is honoured: what the statement says, or else what is at its place."""
    return decides.given or (decides.place.holds or "" if isinstance(decides, Effect) else "")


def _outcome_of(one: Finding | Effect) -> Outcome:
    assert one.outcome != "noted"
    return one.outcome


def _rank(outcome: str) -> int:
    return ORDER.index(outcome) if outcome in ORDER else len(ORDER)


def counts(rows: tuple[Row, ...]) -> dict[str, int]:
    """How many settings have each outcome, those first that a reader must know of."""
    found = Counter(row.outcome for row in rows)
    return {outcome: found[outcome] for outcome in ORDER if found[outcome]}


def tally(rows: tuple[Row, ...]) -> str:
    """`5 not supported, 13 adjusted, 94 in force`."""
    return ", ".join(f"{count} {outcome}" for outcome, count in counts(rows).items())


def _idle(key: str, given: Mapping[str, str]) -> str | None:
    """Why a setting has no effect: `enabled` is for the settings of its section, `compressionEnabled` for those called `compression...`."""
    *sections, last = key.split(".")
    switches = [".".join((*sections[:depth], "enabled")) for depth in range(1, len(sections) + 1)]
    beside = (other.rpartition(".") for other in given if other.endswith("Enabled"))
    switches += [
        f"{section}.{name}"
        for section, _, name in beside
        if section == ".".join(sections) and last.startswith(name.removesuffix("Enabled"))
    ]
    off = next((switch for switch in switches if switch != key and given.get(switch) == "false"), None)
    return f"not read while {off} is false" if off else None
