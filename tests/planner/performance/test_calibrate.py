"""Measured points of one's own: what they move and what they leave."""

import json
import math

import pytest

from planner.performance import calibrate, estimate, published_rows
from tests.planner.performance.asking import SERVED, batch_lines, command, written


def test_points_of_ones_own_move_their_quantity_and_an_outlier_does_not(capsys, tmp_path):
    guess = json.loads(next(batch_lines([SERVED])))
    measured = [SERVED | {"tpot_ms": guess["tpot_ms"]["value"] * f, "ttft_ms": "", "output_tok_s": ""} for f in (1.2, 1.2, 1.25, 5.0)]
    path = written(tmp_path / "own.csv", measured)
    status, out, _ = command(capsys, "--batch", str(path), "--calibrate", str(path))
    assert status == 0
    moved = json.loads(out.splitlines()[0])
    assert moved["tpot_ms"]["value"] == pytest.approx(1.22 * guess["tpot_ms"]["value"], rel=0.04)
    assert moved["ttft_ms"] == guess["ttft_ms"]


def test_points_say_which_term_differs():
    """A deployment whose steps take 3 ms more: much at few requests, little for a full batch. One factor would be wrong at both."""

    def question(requests):
        return published_rows.question(SERVED | {"concurrency_or_batch": str(requests), "notes": ""})

    def point(requests):
        _, inputs, constants = estimate.prepared(question(requests))
        late = math.exp(estimate.TARGETS["served_tpot"](inputs, constants, math.log)) + 3e-3
        return calibrate.Point(target="served_tpot", inputs=inputs, constants=constants, measured=math.log(late))

    shifts = {"tpot": calibrate.moved([point(2), point(16), point(256)])}

    def slower(requests, by):
        return estimate.estimate(question(requests), by).tpot_s.value / estimate.estimate(question(requests)).tpot_s.value

    assert slower(4, shifts) > slower(128, shifts) + 0.03
    for requests in (4, 128):
        truth = math.exp(point(requests).measured) / estimate.estimate(question(requests)).tpot_s.value
        assert slower(requests, shifts) == pytest.approx(truth, abs=0.04)


def test_a_file_without_a_result_calibrates_nothing(capsys, tmp_path):
    path = written(tmp_path / "own.csv", [SERVED | dict.fromkeys(("ttft_ms", "tpot_ms", "output_tok_s"), "")])
    status, _, err = command(capsys, "--batch", str(path), "--calibrate", str(path))
    assert status == 1 and "no row has a value in ttft_ms, tpot_ms, output_tok_s" in err


def test_calibration_leaves_no_time_below_the_floor():
    swift = {"tpot": {"served_tpot_offset": -9.0}}
    answer = estimate.estimate(published_rows.question(SERVED), swift)
    assert answer.tpot_s.low == answer.tpot_s.value == answer.floor_tpot_s
