"""The fit's results are of today's measurements, GPU figures, equations and spreads: each keeps the identity of what it came from."""

import dataclasses
import json

import pytest

from bench.performance import results
from bench.performance.observations import identity, measured_rows, observations
from planner.performance import constants, estimate

ROWS = measured_rows()
SOME = ROWS[::400]


INPUT = identity(observations(ROWS)[0])


@pytest.mark.parametrize("path", [results.FITTED, results.REPORT, results.RANGES, results.LEFT_OUT], ids=lambda path: path.name)
def test_a_result_is_of_todays_input(path):
    """Stale: run `uv run --script bench/fit_performance.py --points --write`, ten minutes on two cores."""
    assert results.input_of(path) == INPUT


def test_the_page_says_where_the_peers_were_asked_beside_an_older_fit():
    asked_beside = json.loads((results.REPORT.parent / "planner_vs_peers.json").read_text())["input"]
    assert ("beside an older fit" in results.PAGE.read_text()) == (asked_beside != INPUT)


def of(rows=SOME):
    return identity(observations(rows)[0])


def test_every_measured_value_and_its_circumstances_belong_to_the_identity():
    row = next(row for row in SOME if row["layers"] and row["tpot_ms"] and row["concurrency_or_batch"])
    for column in ("tpot_ms", "concurrency_or_batch", "layers"):
        changed = row | {column: str(2 * float(row[column]))}
        assert of([changed]) != of([row]) == of([dict(row)])
    assert of([row | {"notes": row["notes"] + " nightly"}]) != of([row])


def test_the_figures_of_a_gpu_belong_to_the_identity():
    seen, _ = observations(SOME)
    faster = dataclasses.replace(seen[0], work=dataclasses.replace(seen[0].work, bandwidth=seen[0].work.bandwidth * 1.01))
    assert identity([faster, *seen[1:]]) != identity(seen)


def test_spreads_and_equations_belong_to_the_identity(monkeypatch):
    before = of()
    with monkeypatch.context() as patched:
        patched.setitem(constants.CONSTANTS, "step_s", dataclasses.replace(constants.CONSTANTS["step_s"], scale=-0.9))
        assert of() != before
    target = next(iter({o.target for o in observations(SOME)[0]}))
    equation = estimate.TARGETS[target]
    monkeypatch.setitem(estimate.TARGETS, target, lambda w, k, log: equation(w, k, log) + 1e-4)
    assert of() != before


def test_what_the_planner_reads_holds_no_report():
    """It is loaded at every start: constants, ranges and what was seen, nothing that only a reader of the errors wants."""
    assert set(json.loads(results.FITTED.read_text())) == {"input", "constants", "ranges", "seen"}
