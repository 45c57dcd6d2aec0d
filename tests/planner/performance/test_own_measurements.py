"""Rows that this repository measured, and a user's own: who starts together, which servers count, and one answer to one question."""

import csv
import dataclasses
import json
import statistics

import pytest

from bench.performance.observations import measured_rows
from planner.__main__ import main
from planner.fit import estimate_question
from planner.performance import clients, estimate, published_rows

OWN = [row for row in measured_rows() if row["source_repo_or_page"] == published_rows.OUR_OWN]
H200 = [row for row in OWN if row["gpu"].startswith("H200")]
ASK = estimate_question.EstimateOptions(
    model="llama-3-8b", gpu="H200-141GB-SXM", gpus=1, tp=1, pp=1, precision="bf16", kv_precision="fp16", isl=1024, osl=128,
    concurrency=32, engine="vllm", engine_version="0.20.2",
)  # fmt: skip


def written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def off(rows, quantity, column, unit):
    return [getattr(estimate.estimate(published_rows.question(row)), quantity).value / (float(row[column]) * unit) for row in rows]


def test_users_of_a_service_do_not_start_together():
    """Nothing synchronises them. Charged with the first of a benchmark's ten prompts a slot, all of which start at once, prompts of 1,024
    tokens and more waited 1.6 times as long in the estimate as on an H200."""
    assert estimate_question.question(ASK).together == 0
    assert {published_rows.question(row).together for row in H200} == {0}
    published = [row for row in measured_rows() if "InferenceMAX" in row["notes"] or "gap-analysis" in row["notes"]]
    assert {published_rows.question(row).together for row in published if not row["engine_version"].startswith("0.5.1.")} == {
        clients.TEN_A_SLOT
    }
    long = [row for row in H200 if int(row["isl"]) >= 1024 and int(row["concurrency_or_batch"]) > 1]
    assert statistics.median(off(long, "ttft_s", "ttft_ms", 1e-3)) == pytest.approx(1, abs=0.2)


def test_our_own_measurements_are_met():
    """TPOT of 3.5 to 56 ms: 1 to 400 users, four precisions, three models. Repetitions of one question are up to a quarter apart."""
    deployed = [row for row in OWN if not clients.not_deployed(row)]
    assert len(deployed) == 6 + 49
    ratios = off(deployed, "tpot_s", "tpot_ms", 1e-3)
    assert statistics.median(abs(ratio - 1) for ratio in ratios) < 0.1


def test_rows_of_a_model_runner_that_is_not_deployed_are_marked():
    """With 400 users vLLM's second runner takes 18 ms a token where the first takes 24."""
    marked = {row["id"] for row in OWN if clients.not_deployed(row)}
    assert marked == {f"own-{number:04}" for number in (*range(4, 9), *range(11, 20))}


@pytest.mark.parametrize("measured", [("ttft_ms", "tpot_ms", "output_tok_s"), ("tpot_ms",), ("output_tok_s",)])
def test_one_question_has_one_answer_whatever_was_measured(measured, tmp_path, capsys):
    """A single question and the same one in a file; throughput follows from the two times in both."""
    points = [row | {column: row[column] if column in measured else "" for column in ("ttft_ms", "tpot_ms", "output_tok_s")}
              for row in H200 if row["isl"] == "1024"][:3]  # fmt: skip
    path = written(tmp_path / "points.csv", points)
    asked = next(row for row in H200 if (row["weight_precision"], row["isl"], row["concurrency_or_batch"]) == ("bf16", "1024", "32"))
    batch = written(tmp_path / "questions.csv", [asked])
    assert main(["estimate", "--batch", str(batch), "--calibrate", str(path)]) == 0
    in_file = json.loads(capsys.readouterr().out)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in dataclasses.asdict(ASK).items()]
    assert main(["estimate", *options, "--calibrate", str(path), "--json"]) == 0
    single = json.loads(capsys.readouterr().out)
    assert in_file["ttft_ms"] == pytest.approx(single["ttft_ms"], rel=0.01)
    assert in_file["tpot_ms"] == pytest.approx(single["tpot_ms"], rel=0.01)
    assert in_file["output_tok_s"] == pytest.approx(single["throughput_tok_s"], rel=0.01)
    request_ms = in_file["ttft_ms"]["value"] + 127 * in_file["tpot_ms"]["value"]
    assert in_file["output_tok_s"]["value"] == pytest.approx(32 * 128 * 1e3 / request_ms, rel=1e-3)


def test_a_rate_without_times_moves_the_time_per_token(tmp_path, capsys):
    """Half the tokens a second with as many requests in flight: each takes twice as long."""
    row = next(row for row in H200 if row["concurrency_or_batch"] == "32" and row["isl"] == "32")
    found = estimate.estimate(published_rows.question(row))
    half = row | {"ttft_ms": "", "tpot_ms": "", "output_tok_s": str(found.output_tok_s.value / 2)}
    path = written(tmp_path / "points.csv", [half])
    assert main(["estimate", "--batch", str(path), "--calibrate", str(path)]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert moved["tpot_ms"]["value"] > 1.3e3 * found.tpot_s.value
    impossible = written(tmp_path / "impossible.csv", [half | {"output_tok_s": "1e8"}])
    assert main(["estimate", "--batch", str(path), "--calibrate", str(impossible)]) == 1
    assert "output_tok_s 1e+08: more than the GPUs could produce with 32 requests in flight" in capsys.readouterr().err
