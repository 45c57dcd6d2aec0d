"""Measurements as observations of the performance model's quantities, and as arrays on which its equations run."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from planner.performance import clients, estimate, published_rows, questions
from planner.performance.constants import CONSTANTS

NAMES = list(CONSTANTS)
LOGARITHMIC = np.array([c.logarithmic for c in CONSTANTS.values()])
STARTS = np.array([np.log(c.start) if c.logarithmic else c.start for c in CONSTANTS.values()])
FIELDS = [field.name for field in dataclasses.fields(questions.Work) if field.name != "keys"]


def distrusted(row: dict[str, str]) -> str:
    """Why a row is kept out of the fit (it still counts in the error); an empty text for the rest."""
    if row["id"].startswith("mlc") and row["engine"] == "vLLM":
        return "vLLM over PCIe, 2.5 times slower than its neighbours"
    if row["id"].startswith("mlp") and row["tpot_ms"]:
        return "MLPerf server: time per token under a load that is not stated"
    if row["engine"] == "vLLM" and row["engine_version"] == "0.12.0" and row["model"].startswith("Llama-3.1-8B"):
        return "time per token shows no prefill of other requests"
    if row["engine"] == "vLLM" and row["model"] == "gpt-oss-120b" and row["source_date"].startswith("2025-12"):
        return "512 requests, but the time per token of a few: a batch limit that is not stated (clients.overfull)"
    return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    row: dict[str, str]
    question: questions.Question
    work: questions.Work
    target: str
    value: float
    """Seconds, or output tokens a second."""
    kept_out: bool

    @property
    def group(self) -> str:
        return self.work.keys["combination"]


def observations(path: Path) -> tuple[list[Observation], Counter[str]]:
    """One for each quantity that a row reports and the model answers, and why rows give none."""
    found, skipped = [], Counter()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if reason := clients.not_deployed(row):
                skipped[reason] += 1
                continue
            try:
                question = published_rows.question(row)
            except published_rows.Impossible as error:
                skipped[str(error)[:60]] += 1
                continue
            question = with_measured_load(question, row)
            work = questions.work(question)
            for quantity, column, scale in (("ttft", "ttft_ms", 1e-3), ("tpot", "tpot_ms", 1e-3), ("rate", "output_tok_s", 1.0)):
                target = estimate.target(question, quantity)
                if target and row[column] and not (quantity == "rate" and estimate.rate_follows(question)):
                    value = float(row[column]) * scale
                    observation = Observation(
                        row=row, question=question, work=work, target=target, value=value, kept_out=bool(distrusted(row))
                    )
                    found.append(observation)
    return found, skipped


def with_measured_load(question: questions.Question, row: dict[str, str]) -> questions.Question:
    """An open loop with the requests in flight that its own measurement implies (Little's law); other questions as they are."""
    if not question.load_unknown or question.arrivals_per_s is None:
        return question
    each_s = (float(row["ttft_ms"]) + question.output_tokens * float(row["tpot_ms"])) / 1e3
    return dataclasses.replace(question, concurrency=max(question.arrivals_per_s * each_s, 1.0), load_unknown=False)


def constants_of(values: np.ndarray) -> SimpleNamespace:
    """Constants by name, of one row or of many, from the logarithms that are fitted."""
    return SimpleNamespace(**{n: np.exp(values[..., j]) if LOGARITHMIC[j] else values[..., j] for j, n in enumerate(NAMES)})


class Data:
    """The observations as arrays."""

    def __init__(self, rows: list[Observation]):
        self.rows = rows
        self.count = len(rows)
        self.logs = np.log([o.value for o in rows])
        self.target = np.array([o.target for o in rows])
        self.group = np.array([o.group for o in rows])
        self.kept_out = np.array([o.kept_out for o in rows])
        self.published = np.array([o.row["source_repo_or_page"] != published_rows.OUR_OWN for o in rows])
        arrays = {name: np.array([getattr(o.work, name) for o in rows]) for name in FIELDS}
        self.parts = {name: np.flatnonzero(self.target == name) for name in estimate.TARGETS}
        self.works = {name: SimpleNamespace(**{f: a[i] for f, a in arrays.items()}) for name, i in self.parts.items()}
        slopes = self.linearised(np.tile(STARTS, (self.count, 1)), None)[1]
        self.used = {name: np.flatnonzero(np.abs(slopes[i]).max(axis=0) > 1e-9) for name, i in self.parts.items() if len(i)}

    def predicted(self, values: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
        """Logarithms at each row's constants; of the wanted rows alone if given."""
        rows = np.arange(self.count) if wanted is None else wanted
        found = np.zeros(len(rows))
        for name, members in self.parts.items():
            where = np.flatnonzero(self.target[rows] == name)
            if len(where):
                at = np.searchsorted(members, rows[where])
                work = SimpleNamespace(**{field: array[at] for field, array in vars(self.works[name]).items()})
                found[where] = estimate.TARGETS[name](work, constants_of(values[rows[where]]), np.log)
        return found

    def linearised(self, values: np.ndarray, used) -> tuple[np.ndarray, np.ndarray]:
        """Predicted logarithms and their derivatives by each constant, at each row's constants."""
        predicted, slopes, nudge = np.zeros(self.count), np.zeros((self.count, len(NAMES))), 1e-5
        for name, i in self.parts.items():
            if not len(i):
                continue
            k = vars(constants_of(values[i]))
            function, work = estimate.TARGETS[name], self.works[name]
            predicted[i] = function(work, SimpleNamespace(**k), np.log)
            for j in used[name] if used else range(len(NAMES)):
                moved = k[NAMES[j]] * np.exp(nudge) if LOGARITHMIC[j] else k[NAMES[j]] + nudge
                slopes[i, j] = (function(work, SimpleNamespace(**{**k, NAMES[j]: moved}), np.log) - predicted[i]) / nudge
        return predicted, slopes
