"""`python -m planner estimate`: text and JSON, a file of questions, questions that cannot be answered."""

import csv
import dataclasses
import json
import random

import pytest

from planner.performance import published_rows
from tests.planner.performance.asking import GUIDE, ROWS, ask, batch_lines, command


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model="gpt-9"), "unknown model 'gpt-9'; the catalogue has gpt-oss-20b"),
        (dict(gpu="H900"), "unknown GPU 'H900'; known: A10"),
        (dict(engine="magic"), "unknown engine 'magic'"),
        (dict(gpu="A100-80GB-SXM"), "A100 has no FP8 tensor cores; fp16, int8, int4 would run"),
        (dict(gpu="V100", precision="fp8"), "V100 has no FP8 tensor cores; fp16, int4 would run"),
        (dict(precision="fp5"), "unknown precision 'fp5'"),
        (dict(tp=3, gpus=3), "tensor parallel 3 does not divide 64 attention heads"),
        (dict(gpus=6), "--gpus 6 is no multiple of --tp 4 x --pp 1"),
        (dict(concurrency=0), "--concurrency 0: between 1 and"),
        (dict(concurrency=10**9), "--concurrency 1000000000: between 1 and"),
        (dict(isl=0), "--isl 0"),
        (dict(isl=9000), "8192 tokens of context"),
        (dict(tp=1, gpus=1, precision="fp16"), "weights of 141 GB do not fit 1 GPU of 85.0 GB"),
    ],
)
def test_what_cannot_run_is_one_sentence_and_status_1(capsys, changes, says):
    with pytest.raises(published_rows.Impossible) as error:
        ask(**changes)
    assert says in str(error.value)
    options = dataclasses.asdict(dataclasses.replace(GUIDE, **changes))
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    status, out, err = command(capsys, *arguments)
    assert (status, out) == (1, "") and says in err and err.count("\n") == 1


def test_missing_arguments_are_named(capsys):
    status, _, err = command(capsys)
    assert status == 1 and "--model and --gpu missing" in err


def test_the_command_prints_text_or_json(capsys):
    arguments = ["--model", "llama-3-70b", "--gpu", "H100-80GB-SXM", "--tp", "4", "--precision", "fp8"]
    status, out, _ = command(capsys, *arguments, "--json")
    assert status == 0 and json.loads(out) == ask()
    status, out, _ = command(capsys, *arguments)
    assert status == 0 and "time per output token, ms" in out and "Extrapolated" not in out


def test_a_file_of_questions_gives_one_line_each(capsys, tmp_path):
    row = next(row for row in ROWS if row["kind"] == "concurrency" and row["isl"] and row["concurrency_or_batch"])
    saturated = next(row for row in ROWS if row["kind"] == "saturated")
    broken = [
        row | {"id": "zero", "concurrency_or_batch": "0"},
        row | {"id": "words", "tp": "many"},
        row | {"id": "half", "tp": "1.5"},
        row | {"id": "heads", "tp": "7"},
        row | {"id": "gpu", "gpu": "Abacus"},
        row | {"id": "kind", "kind": "guess"},
        row | {"id": "nothing", "layers": ""},
        row | {"id": "infinite", "isl": "inf"},
    ]
    path = tmp_path / "questions.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([row, *broken, saturated])
        file.write("short,line\n")
    status, out, err = command(capsys, "--batch", str(path))
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, err, len(lines)) == (0, "", 11)
    first, last, short = lines[0], lines[-2], lines[-1]
    assert first["id"] == row["id"] and set(first) == {"id", "ttft_ms", "tpot_ms", "output_tok_s", "extrapolated"}
    assert first["ttft_ms"]["low"] < first["ttft_ms"]["value"] < first["ttft_ms"]["high"]
    assert last["ttft_ms"] is last["tpot_ms"] is None and last["output_tok_s"]["value"] > 0
    assert all(set(line) == {"id", "error"} for line in lines[1:-2]) and "malformed" in short["error"]


def test_a_missing_file_is_one_sentence(capsys):
    status, _, err = command(capsys, "--batch", "no/such.csv")
    assert status == 1 and "no/such.csv" in err and "Traceback" not in err


def test_results_in_the_file_do_not_change_the_answers():
    sample = random.Random(1).sample(ROWS, 200)
    results = ("ttft_ms", "tpot_ms", "output_tok_s", "total_tok_s", "requests_s")
    for row in sample:
        bare = row | dict.fromkeys(results, "")
        assert list(batch_lines([row])) == list(batch_lines([bare]))


def test_every_measured_row_can_be_asked():
    """A refusal of something that was measured would be wrong; rows without an architecture say so."""
    refused = {line["error"] for line in map(json.loads, batch_lines(ROWS)) if "error" in line}
    assert refused == {"the architecture's columns are empty: params_b, layers, hidden, heads, intermediate, vocab"}
