"""Compares measurements with their estimates, for `python -m planner compare` and for the stack output `measured`."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.engine_facts import NAMES, traits
from planner.fit import estimate_question
from planner.fit.demand import Demand
from planner.fit.serving import Pipeline
from planner.performance.estimate import ClosedLoop, Range
from planner.performance.published_rows import MOST_CONCURRENCY, MOST_TOKENS, Impossible
from settings.files import ROOT

_Count = Annotated[int, Field(ge=1, le=1024)]
_Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
_Figure = Annotated[float, Field(gt=0)]


class Unreadable(Exception):
    """The file cannot be read as measurements; the text says why."""


class Entry(BaseModel):
    """One measurement of a closed loop. Keys that are not listed here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    arm: str = ""
    """The name of the entry."""
    model: str
    """A model of planner/catalogue/data/models.csv."""
    gpu: str
    """A GPU of planner/catalogue/data/gpus.csv."""
    gpus: _Count = 1
    tp: _Count | None = None
    """The GPUs that share each layer. By default all of them, or one if the engine splits the layers over the GPUs."""
    pp: _Count | None = None
    precision: str
    kv_precision: Literal["fp16", "fp8"] = "fp16"
    engine: str
    """An engine as `estimate --engine` takes it."""
    engine_version: str | None = None
    isl: _Tokens
    osl: _Tokens
    concurrency: Annotated[float, Field(ge=1, le=MOST_CONCURRENCY)]
    slots: _Count | None = None
    """The requests that run at once, over all replicas. By default all that are in flight."""
    ttft_ms: _Figure | None = None
    tpot_ms: _Figure | None = None
    latency_s: _Figure | None = None
    """The time of a whole request. Like the two fields above it is the mean or the median."""
    throughput_tok_s: _Figure | None = None
    """Output tokens per second."""
    requests_s: _Figure | None = None
    utilisation: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of time in which a kernel ran, from 0 to 1, by the GPU's own counter."""


_SPLITS_LAYERS = {each.performs_like for each in map(traits, NAMES) if each.whole_pipeline_in_a_pod}
QUANTITIES = ("ttft_ms", "tpot_ms", "latency_s", "throughput_tok_s", "requests_s", "utilisation")
SHARE = "utilisation"
"""The quantity whose errors are in percentage points instead of percent of the measured figure."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    quantity: str
    measured: float
    estimated: Range

    @property
    def ratio(self) -> float:
        """The estimate divided by the measurement."""
        return self.estimated.value / self.measured

    @property
    def error_percent(self) -> float:
        """The error in percent of the measurement, or in percentage points for a share."""
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
    """Why there is nothing to compare; empty when there is."""


def path_of(stack: str) -> Path:
    """Returns the path of the file with a stack's own measurements, which need not exist."""
    return ROOT / f"measured.{stack}.json"


def compare(path: Path) -> tuple[Compared, ...]:
    """Compares each entry of the file with its estimate, or says what is wrong with it. Raises Unreadable if the file has no entries."""
    try:
        document = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None
    except ValueError as error:
        raise Unreadable(f"{path} is not JSON: {error}") from None
    rows = document.get("rows") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows:
        raise Unreadable(f"{path} contains no list of measurements, neither at its top nor under `rows`")
    return tuple(_compared(number, row) for number, row in enumerate(rows, start=1))


def _compared(number: int, row: Any) -> Compared:
    if not isinstance(row, dict):
        wrong = f"is not an object with keys such as model, gpu and tpot_ms: {json.dumps(row)[:60]}"
        return Compared(name=f"row {number}", entry=None, error=wrong)
    name = str(row.get("arm") or f"row {number}")
    if row.get("error"):
        return Compared(name=name, entry=None, error=f"was not measured: {row['error']}")
    try:
        entry = Entry.model_validate(row)
        return _estimated(name, entry)
    except ValidationError as invalid:
        wrong = "; ".join(f"{'.'.join(map(str, detail['loc'])) or 'it'}: {detail['msg']}" for detail in invalid.errors())
        return Compared(name=name, entry=None, error=wrong)
    except Impossible as error:
        return Compared(name=name, entry=None, error="; ".join(str(error).splitlines()))


def _estimated(name: str, entry: Entry) -> Compared:
    measured = {quantity: getattr(entry, quantity) for quantity in QUANTITIES if getattr(entry, quantity) is not None}
    if not measured:
        return Compared(name=name, entry=entry, error=f"has none of {', '.join(QUANTITIES)}")
    ask = estimate_question.EstimateOptions(
        model=entry.model, gpu=entry.gpu, gpus=entry.gpus, tp=_tensor(entry), pp=_stages(entry), precision=entry.precision,
        kv_precision=entry.kv_precision, isl=entry.isl, osl=entry.osl, concurrency=1, engine=entry.engine,
        engine_version=entry.engine_version,
    )  # fmt: skip
    replicas = entry.gpus // (ask.tp * ask.pp) or 1
    load = Demand(
        users=max(1, round(entry.concurrency)), input_tokens=entry.isl, output_tokens=max(entry.osl, 2), judged_tokens=entry.osl,
        latency_s=1.0, requests_s=1.0,
    )  # fmt: skip
    most = max(1, round((entry.slots or entry.concurrency) / replicas))
    pipeline = Pipeline(loop=ClosedLoop(estimate_question.question(ask)), load=load, most=most, takes_turns=entry.engine in _SPLITS_LAYERS)
    in_flight = entry.concurrency / replicas
    times = pipeline.at(in_flight)
    whole, users = times.request, entry.concurrency
    requests = Range(value=users / whole.value, low=users / whole.high, high=users / whole.low)
    estimates = {
        "ttft_ms": _times(times.first_token, 1e3),
        "tpot_ms": _times(times.per_token, 1e3),
        "latency_s": times.request,
        "requests_s": requests,
        "throughput_tok_s": _times(requests, entry.osl),
        SHARE: pipeline.busy(in_flight),
    }
    pairs = tuple(Pair(quantity=quantity, measured=value, estimated=estimates[quantity]) for quantity, value in measured.items())
    return Compared(name=name, entry=entry, pairs=pairs, extrapolated=pipeline.extrapolated)


def _tensor(entry: Entry) -> int:
    if entry.tp is not None:
        return entry.tp
    return 1 if entry.engine in _SPLITS_LAYERS else max(1, entry.gpus // (entry.pp or 1))


def _stages(entry: Entry) -> int:
    if entry.pp is not None:
        return entry.pp
    return max(1, entry.gpus // (entry.tp or 1)) if entry.engine in _SPLITS_LAYERS else 1


def _times(estimate: Range, factor: float) -> Range:
    return Range(value=estimate.value * factor, low=estimate.low * factor, high=estimate.high * factor)


def as_json(compared: tuple[Compared, ...]) -> dict[str, Any]:
    """Returns the figures of each entry, and how far the estimates were off by quantity."""
    return {"rows": list(map(_row, compared)), "quantities": summary(compared)}


def _row(compared: Compared) -> dict[str, Any]:
    if compared.error:
        return {"name": compared.name, "error": compared.error}
    figures = {
        pair.quantity: {"measured": pair.measured, "ratio": round(pair.ratio, 3), "inside": pair.inside}
        | {bound: float(f"{getattr(pair.estimated, bound):.4g}") for bound in ("value", "low", "high")}
        for pair in compared.pairs
    }
    return {"name": compared.name, "extrapolated": compared.extrapolated} | figures


def summary(compared: tuple[Compared, ...]) -> dict[str, dict[str, float]]:
    """Returns, for each quantity, the rows, the median and mean error (as `Pair.error_percent`) and the share of rows inside the range."""
    by_quantity: dict[str, dict[str, float]] = {}
    for quantity in QUANTITIES:
        pairs = [pair for entry in compared for pair in entry.pairs if pair.quantity == quantity]
        if pairs:
            errors = [pair.error_percent for pair in pairs]
            by_quantity[quantity] = {
                "rows": len(pairs),
                "median_error_percent": round(statistics.median(errors), 1),
                "mean_error_percent": round(statistics.mean(errors), 1),
                "inside": round(sum(pair.inside for pair in pairs) / len(pairs), 3),
            }
    return by_quantity
