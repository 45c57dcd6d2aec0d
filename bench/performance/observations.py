"""Measurements as observations of the performance model's quantities: what the fit is given, and what tells one such input from another."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import math
from collections import Counter
from pathlib import Path

from planner.performance import clients, constants, estimate, model_inputs, published_rows, questions

MEASUREMENTS = Path(__file__).parent / "measurements.csv"
FIELDS = [field.name for field in dataclasses.fields(model_inputs.ModelInputs) if field.name != "keys"]


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
    work: model_inputs.ModelInputs
    target: str
    value: float
    """Seconds, or output tokens a second."""
    kept_out: bool

    @property
    def group(self) -> str:
        return self.work.keys["combination"]


def measured_rows() -> list[dict[str, str]]:
    """All rows of `measurements.csv`."""
    with MEASUREMENTS.open(newline="") as file:
        return list(csv.DictReader(file))


def observations(rows: list[dict[str, str]]) -> tuple[list[Observation], Counter[str]]:
    """One for each quantity that a row reports and the model answers, and why rows give none."""
    found, skipped = [], Counter()
    for row in rows:
        if reason := clients.not_deployed(row):
            skipped[reason] += 1
            continue
        try:
            question = published_rows.question(row)
        except published_rows.Impossible as error:
            skipped[str(error)[:60]] += 1
            continue
        question = with_measured_load(question, row)
        work = model_inputs.model_inputs(question)
        for quantity, column, scale in (("ttft", "ttft_ms", 1e-3), ("tpot", "tpot_ms", 1e-3), ("rate", "output_tok_s", 1.0)):
            target = estimate.target(question, quantity)
            if target and row[column] and not (quantity == "rate" and estimate.rate_follows(question)):
                value = float(row[column]) * scale
                found.append(Observation(row=row, question=question, work=work, target=target, value=value, kept_out=bool(distrusted(row))))
    return found, skipped


def identity(given: list[Observation]) -> str:
    """The SHA-256 of what the fit is given, which its results keep: they are stale where it has changed.

    It covers every cell of a row, the numbers that the equations get from it (so the tables of GPUs and of bytes per weight too), what
    the equations make of them where the constants start, and the constants' starts and spreads. It does not cover how the fit searches.
    """
    digest = hashlib.sha256()
    for name, constant in constants.CONSTANTS.items():
        digest.update(f"{name} {constant.start:.6g} {constant.logarithmic} {_rounded(constant.spreads())}\n".encode())
    start = constants.resolve({}, {})
    for o in given:
        numbers = " ".join(f"{getattr(o.work, field):.6g}" for field in FIELDS)
        predicted = estimate.TARGETS[o.target](o.work, start, math.log)
        digest.update(f"{o.row} {o.work.keys} {o.target} {o.value:.6g} {o.kept_out} {numbers} {predicted:.6g}\n".encode())
    return digest.hexdigest()


def _rounded(numbers: dict[str, float]) -> dict[str, str]:
    return {name: f"{number:.6g}" for name, number in numbers.items()}


def with_measured_load(question: questions.Question, row: dict[str, str]) -> questions.Question:
    """An open loop with the requests in flight that its own measurement implies (Little's law); other questions as they are."""
    if not question.load_unknown or question.arrivals_per_s is None:
        return question
    each_s = (float(row["ttft_ms"]) + question.output_tokens * float(row["tpot_ms"])) / 1e3
    return dataclasses.replace(question, concurrency=max(question.arrivals_per_s * each_s, 1.0), load_unknown=False)
