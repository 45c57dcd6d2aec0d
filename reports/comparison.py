"""What was measured beside what is estimated for it: `python -m planner compare --measured FILE`, and the stack's output."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.engine_facts import NAMES, traits
from planner.fit import estimate_question
from planner.fit.demand import Load
from planner.fit.serving import Pipeline
from planner.performance.estimate import ClosedLoop, Range
from planner.performance.published_rows import MOST_CONCURRENCY, MOST_TOKENS, Impossible
from settings.files import ROOT

_Count = Annotated[int, Field(ge=1, le=1024)]
_Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
_Figure = Annotated[float, Field(gt=0)]


class Unreadable(Exception):
    """A file that has no measurements; the text says why."""


class Entry(BaseModel):
    """One measurement of a closed loop. Further keys are for people."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    arm: str = ""
    """What to call it."""
    model: str
    """As in planner/catalogue/data/models.csv."""
    gpu: str
    """As in planner/catalogue/data/gpus.csv."""
    gpus: _Count = 1
    tp: _Count | None = None
    """GPUs that share each layer; left out: all of them, or one where the engine splits layers over GPUs."""
    pp: _Count | None = None
    precision: str
    kv_precision: Literal["fp16", "fp8"] = "fp16"
    engine: str
    """As `estimate --engine`."""
    engine_version: str | None = None
    isl: _Tokens
    osl: _Tokens
    concurrency: Annotated[float, Field(ge=1, le=MOST_CONCURRENCY)]
    slots: _Count | None = None
    """Requests that run at once, over all replicas; left out: all of them."""
    ttft_ms: _Figure | None = None
    tpot_ms: _Figure | None = None
    latency_s: _Figure | None = None
    """Of a whole request, like the two above the mean or the median."""
    throughput_tok_s: _Figure | None = None
    """Output tokens."""
    requests_s: _Figure | None = None
    utilisation: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the time in which some kernel ran, by the GPU's own counter."""


_SPLITS_LAYERS = {each.performs_like for each in map(traits, NAMES) if each.whole_pipeline_in_a_pod}
QUANTITIES = ("ttft_ms", "tpot_ms", "latency_s", "throughput_tok_s", "requests_s", "utilisation")
SHARE = "utilisation"
"""Its errors are in points, not in percent of the measured figure."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    quantity: str
    measured: float
    estimated: Range

    @property
    def ratio(self) -> float:
        """Estimated over measured."""
        return self.estimated.value / self.measured

    @property
    def error_percent(self) -> float:
        """Of the measured figure; points of a share."""
        return 100 * abs(self.estimated.value - self.measured if self.quantity == SHARE else self.ratio - 1)

    @property
    def inside(self) -> bool:
        return self.estimated.low <= self.measured <= self.estimated.high


@dataclass(frozen=True, kw_only=True)
class Compared:
    name: str
    entry: Entry | None
    pairs: tuple[Pair, ...] = ()
    extrapolated: bool = False
    error: str = ""
    """Why there is nothing to compare; empty otherwise."""


def path_of(stack: str) -> Path:
    """Where a stack's own measurements are kept, if there are any."""
    return ROOT / f"measured.{stack}.json"


def compare(path: Path) -> tuple[Compared, ...]:
    """Each entry of the file with its estimate, or with what is wrong with it. Raises Unreadable where the file has no entries."""
    try:
        document = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None
    except ValueError as error:
        raise Unreadable(f"{path}: is no JSON: {error}") from None
    rows = document.get("rows") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows:
        raise Unreadable(f"{path}: holds no list of measurements, nor one under `rows`")
    return tuple(_compared(number, row) for number, row in enumerate(rows, start=1))


def _compared(number: int, row: Any) -> Compared:
    if not isinstance(row, dict):
        wrong = f"is no object with keys such as model, gpu and tpot_ms: {json.dumps(row)[:60]}"
        return Compared(name=f"row {number}", entry=None, error=wrong)
    name = str(row.get("arm") or f"row {number}")
    if row.get("error"):
        return Compared(name=name, entry=None, error=f"was not measured: {row['error']}")
    try:
        entry = Entry.model_validate(row)
        return _estimated(name, entry)
    except ValidationError as invalid:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in invalid.errors())
        return Compared(name=name, entry=None, error=wrong)
    except Impossible as error:
        return Compared(name=name, entry=None, error="; ".join(str(error).splitlines()))


def _estimated(name: str, entry: Entry) -> Compared:
    measured = {quantity: getattr(entry, quantity) for quantity in QUANTITIES if getattr(entry, quantity) is not None}
    if not measured:
        return Compared(name=name, entry=entry, error=f"has none of {', '.join(QUANTITIES)}")
    ask = estimate_question.Ask(
        model=entry.model, gpu=entry.gpu, gpus=entry.gpus, tp=_tensor(entry), pp=_stages(entry), precision=entry.precision,
        kv_precision=entry.kv_precision, isl=entry.isl, osl=entry.osl, concurrency=1, engine=entry.engine,
        engine_version=entry.engine_version,
    )  # fmt: skip
    replicas = entry.gpus // (ask.tp * ask.pp) or 1
    load = Load(
        users=max(1, round(entry.concurrency)), input_tokens=entry.isl, output_tokens=max(entry.osl, 2), judged_tokens=entry.osl,
        latency_s=1.0, requests_s=1.0,
    )  # fmt: skip
    most = max(1, round((entry.slots or entry.concurrency) / replicas))
    one = Pipeline(loop=ClosedLoop(estimate_question.question(ask)), load=load, most=most, takes_turns=entry.engine in _SPLITS_LAYERS)
    each = entry.concurrency / replicas
    times = one.at(each)
    whole, users = times.request, entry.concurrency
    requests = Range(value=users / whole.value, low=users / whole.high, high=users / whole.low)
    found = {
        "ttft_ms": _times(times.first_token, 1e3),
        "tpot_ms": _times(times.per_token, 1e3),
        "latency_s": times.request,
        "requests_s": requests,
        "throughput_tok_s": _times(requests, entry.osl),
        SHARE: one.busy(each),
    }
    pairs = tuple(Pair(quantity=quantity, measured=value, estimated=found[quantity]) for quantity, value in measured.items())
    return Compared(name=name, entry=entry, pairs=pairs, extrapolated=one.extrapolated)


def _tensor(entry: Entry) -> int:
    if entry.tp is not None:
        return entry.tp
    return 1 if entry.engine in _SPLITS_LAYERS else max(1, entry.gpus // (entry.pp or 1))


def _stages(entry: Entry) -> int:
    if entry.pp is not None:
        return entry.pp
    return max(1, entry.gpus // (entry.tp or 1)) if entry.engine in _SPLITS_LAYERS else 1


def _times(one: Range, factor: float) -> Range:
    return Range(value=one.value * factor, low=one.low * factor, high=one.high * factor)


def as_json(compared: tuple[Compared, ...]) -> dict[str, Any]:
    """Each entry's figures, then how well the estimates did by quantity."""
    return {"rows": list(map(_row, compared)), "quantities": summary(compared)}


def _row(one: Compared) -> dict[str, Any]:
    if one.error:
        return {"name": one.name, "error": one.error}
    figures = {
        pair.quantity: {"measured": pair.measured, "ratio": round(pair.ratio, 3), "inside": pair.inside}
        | {bound: float(f"{getattr(pair.estimated, bound):.4g}") for bound in ("value", "low", "high")}
        for pair in one.pairs
    }
    return {"name": one.name, "extrapolated": one.extrapolated} | figures


def summary(compared: tuple[Compared, ...]) -> dict[str, dict[str, float]]:
    """By quantity: entries, median and mean error in percent of the measured value (a share's in points), share inside the range."""
    found: dict[str, dict[str, float]] = {}
    for quantity in QUANTITIES:
        pairs = [pair for one in compared for pair in one.pairs if pair.quantity == quantity]
        if pairs:
            errors = [pair.error_percent for pair in pairs]
            found[quantity] = {
                "rows": len(pairs),
                "median_error_percent": round(statistics.median(errors), 1),
                "mean_error_percent": round(statistics.mean(errors), 1),
                "inside": round(sum(pair.inside for pair in pairs) / len(pairs), 3),
            }
    return found
