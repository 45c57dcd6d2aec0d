"""`python -m planner compare`: measurements beside their estimates, and files that hold none."""

import json
import statistics

import pytest

from planner.__main__ import main
from planner.fit import estimate_question
from reports import comparison
from reports.comparison import Unreadable, compare
from settings import files

RESULTS = files.ROOT / "bench" / "results"
PUBLISHED = {
    "model": "llama-3-70b", "gpu": "H100-80GB-SXM", "gpus": 4, "precision": "fp8", "engine": "vllm", "isl": 1000, "osl": 1000,
    "concurrency": 16, "ttft_ms": 121, "tpot_ms": 13.19,
}  # fmt: skip
"""Measured by ai-dynamo/aiconfigurator (silicon_sample.csv)."""


@pytest.fixture
def written(tmp_path):
    def write(document):
        path = tmp_path / "measured.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def test_an_entry_has_the_estimate_of_the_same_question(written):
    [one] = compare(written([PUBLISHED]))
    ask = estimate_question.EstimateOptions(
        **{key: PUBLISHED[key] for key in ("model", "gpu", "gpus", "precision", "engine", "isl", "osl", "concurrency")}, tp=4, pp=1
    )
    estimate = estimate_question.answer(ask, {})
    for pair in one.pairs:
        assert pair.estimated.value == pytest.approx(estimate[pair.quantity]["value"], rel=1e-3)
        assert pair.measured == PUBLISHED[pair.quantity] and pair.inside and pair.ratio == pytest.approx(1, rel=0.5)
    assert not one.extrapolated


def test_rates_and_latency_follow_from_the_times(written):
    figures = {"latency_s": 13.3, "requests_s": 1.2, "throughput_tok_s": 1200, "utilisation": 0.9}
    [one] = compare(written({"machine": "here", "rows": [PUBLISHED | figures]}))
    found = {pair.quantity: pair.estimated for pair in one.pairs}
    assert found["latency_s"].value == pytest.approx((found["ttft_ms"].value + 999 * found["tpot_ms"].value) / 1000)
    assert found["requests_s"].value == pytest.approx(16 / found["latency_s"].value)
    assert found["throughput_tok_s"].low == pytest.approx(16 * 1000 / found["latency_s"].high)
    assert list(found) == list(comparison.QUANTITIES)


@pytest.mark.parametrize(("engine", "least"), [("llama_cpp", 0.4), ("vllm", 0.8)])
def test_how_busy_a_gpu_is_was_measured(engine, least):
    """The runs have 1 to some hundred users. Servers that share the GPU and vLLM without CUDA graphs are not modelled."""
    path = RESULTS / f"gpu_nvidia_h100_80gb_hbm3_{engine}.json"
    shares = [
        pair
        for row, one in zip(json.loads(path.read_text())["rows"], compare(path), strict=True)
        for pair in one.pairs
        if pair.quantity == "utilisation" and "servers" not in row["arm"] and (engine, row["arm"]) != ("vllm", "untuned")
    ]
    assert len(shares) >= 9 and min(pair.measured for pair in shares) < least < 0.9 < max(pair.measured for pair in shares)
    assert statistics.median(pair.error_percent for pair in shares) < 8
    assert all(pair.estimated.low - 0.02 <= pair.measured <= pair.estimated.high for pair in shares)


def test_gpus_that_take_turns_are_idle_in_between(written):
    entry = PUBLISHED | {"model": "llama-3-8b", "engine": "llama.cpp", "precision": "int8", "concurrency": 2, "utilisation": 0.5}
    alone, turns = (compare(written([entry | {"gpus": gpus}]))[0].pairs[-1].estimated for gpus in (1, 2))
    assert turns.high <= 0.5 < alone.low


def test_fewer_slots_than_requests_make_them_wait(written):
    [free], [tight] = (compare(written([PUBLISHED | {"slots": slots, "latency_s": 13.3}])) for slots in (16, 4))
    latency = [next(pair for pair in one.pairs if pair.quantity == "latency_s").estimated.value for one in (free, tight)]
    assert latency[1] > 2 * latency[0]


def test_gpus_split_layers_where_the_engine_does(written):
    [one] = compare(written([PUBLISHED | {"engine": "llama.cpp", "precision": "int8", "gpus": 2, "concurrency": 1}]))
    shared = estimate_question.EstimateOptions(
        model="llama-3-70b", gpu="H100-80GB-SXM", gpus=2, tp=1, pp=2, precision="int8", isl=1000, osl=1000, concurrency=1,
        engine="llama.cpp",
    )  # fmt: skip
    [tpot] = [pair for pair in one.pairs if pair.quantity == "tpot_ms"]
    assert tpot.estimated.value == pytest.approx(estimate_question.answer(shared, {})["tpot_ms"]["value"], rel=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "llama-3-70"}, "the catalogue has llama-3-70b, "),
        ({"gpu": "H100-80GB-SMX"}, "did you mean H100-80GB-SXM or"),
        ({"gpu": "A100-80GB-SXM"}, "no FP8 tensor cores; fp16, int8, int4 would run"),
        ({"concurrency": 0}, "concurrency: Input should be greater than or equal to 1"),
        ({"concurrency": 1e9}, "concurrency: Input should be less than or equal to"),
        ({"tpot_ms": float("nan")}, "tpot_ms: Input should be"),
        ({"tp": 3, "gpus": 3}, "tensor parallel 3 does not divide 64 attention heads"),
        ({"isl": "many"}, "isl: Input should be a valid integer"),
        ({"kv_precision": "int3"}, "kv_precision: Input should be 'fp16' or 'fp8'"),
        ({"model": "x", "gpu": "y"}, "; unknown GPU 'y'"),
        ({"ttft_ms": None, "tpot_ms": None}, "has none of ttft_ms"),
        ({"error": "out of memory"}, "was not measured: out of memory"),
    ],
)
def test_a_wrong_entry_is_one_line_and_the_rest_is_compared(change, says, written, capsys):
    path = written([PUBLISHED | change | {"arm": "odd"}, PUBLISHED])
    odd, good = compare(path)
    assert says in odd.error and odd.name == "odd" and len(good.pairs) == 2
    assert main(["compare", "--measured", str(path)]) == 0
    assert f"odd: {odd.error}" in capsys.readouterr().out
    assert main(["compare", "--measured", str(written([PUBLISHED | change]))]) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{}", "contains no list of measurements"),
        ("[]", "contains no list"),
        ('{"rows": {}}', "contains no list"),
        ("3", "contains no list"),
    ],
)
def test_a_file_without_measurements_is_one_sentence(text, says, written, capsys):
    path = written(text)
    with pytest.raises(Unreadable, match=says):
        compare(path)
    assert main(["compare", "--measured", str(path)]) == 1
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_an_entry_that_is_no_object_is_one_line(written):
    assert [one.error for one in compare(written([PUBLISHED, None, "a"]))][1:] == [
        "is not an object with keys such as model, gpu and tpot_ms: null",
        'is not an object with keys such as model, gpu and tpot_ms: "a"',
    ]


def test_a_missing_file_is_one_sentence(capsys):
    assert main(["compare", "--measured", "no/such.json"]) == 1
    assert capsys.readouterr().err == "no/such.json: No such file or directory\n"


def test_rows_of_anything_never_crash(written):
    assert [one.error != "" for one in compare(written([1, None, [], {}, "text"]))] == [True] * 5


def test_json_and_text(written, capsys):
    path = written([PUBLISHED, PUBLISHED | {"tpot_ms": 26.38}])
    assert main(["compare", "--measured", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["quantities"]["tpot_ms"]["rows"] == 2 and told["quantities"]["tpot_ms"]["inside"] == 0.5
    assert told["rows"][1]["tpot_ms"]["ratio"] == pytest.approx(0.5, abs=0.05) and not told["rows"][1]["tpot_ms"]["inside"]
    assert main(["compare", "--measured", str(path)]) == 0
    text = capsys.readouterr().out
    assert "outside" in text and "50% inside the range" in text
