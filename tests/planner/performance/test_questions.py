"""`estimate` asked as people ask: files from spreadsheets, names spelt otherwise, rows that nobody measured."""

import csv
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.performance.observations import measured_rows
from planner.__main__ import main
from planner.performance import batch, estimate, gpu_cards, published_rows
from planner.performance.questions import PRECISIONS, multiplies_in

ROWS = measured_rows()
ROW = next(row for row in ROWS if row["id"] == "aic-1728")
"""Llama-3.1-70B FP8 on 4 x H100 by vLLM: 16 requests of 1024 + 1024."""
DENSE = ROW | {"notes": "", "engine_version": "", "id": "asked"}


def text(*rows, newline="\n", header=tuple(ROW)):
    written = io.StringIO()
    writer = csv.DictWriter(written, header, lineterminator=newline, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def answers(tmp_path, capsys, content):
    path = tmp_path / "questions.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status = main(["estimate", "--batch", str(path)])
    printed = capsys.readouterr()
    return status, [json.loads(line) for line in printed.out.splitlines()], printed.err


def answer(row):
    [line] = batch.lines(io.StringIO(text(row)), {})
    return json.loads(line)


def estimated(row):
    return estimate.estimate(published_rows.question(row))


@pytest.mark.parametrize(
    "content",
    [
        text(ROW).encode("utf-8-sig"),
        text(ROW, newline="\r\n"),
        text(ROW, newline="\r"),
        "\n\n" + text(ROW) + "\n\n",
        text(ROW, header=sorted(ROW)),
        text(ROW | {"own": "1"}, header=(*ROW, "own")),
        text(ROW, header=[name for name in ROW if not name.startswith(("ttft", "tpot", "output", "total", "requests"))]),
        text(ROW).replace(",", ", ", len(ROW) - 1),
        text({name: f" {cell} " for name, cell in ROW.items()}),
        text(ROW).splitlines()[0].upper() + "\n" + text(ROW).splitlines()[1],
        text(ROW).replace("\n", ",,\n"),
    ],
)  # fmt: skip
def test_a_file_as_spreadsheets_write_it_is_answered_alike(content, tmp_path, capsys):
    status, [found], err = answers(tmp_path, capsys, content)
    assert (status, err) == (0, "")
    assert found == answer(ROW)


@pytest.mark.parametrize(
    "broken",
    [
        b'"an open quote,1,2',
        b'"an open quote' + b" and much text" * 20_000,
        b"x" * 200_000,
        b"one,two",
        b"a\0b,c",
        (text(ROW).splitlines()[1] + ",more,cells").encode(),
        text(ROW | {"isl": "\u00e9"}).splitlines()[1].encode("latin-1"),
        ",".join([""] * len(ROW)).encode(),
    ],
)  # fmt: skip
def test_a_broken_row_is_one_error_and_the_rest_is_answered(broken, tmp_path, capsys):
    header, row = text(ROW).encode().splitlines()
    status, found, err = answers(tmp_path, capsys, b"\n".join([header, row, broken, row, row, b""]))
    assert (status, err) == (0, "")
    first, odd, *rest = found
    assert odd["error"] and [first, *rest] == [answer(ROW)] * 3


def test_a_cell_that_is_no_utf8_spoils_only_itself(tmp_path, capsys):
    _, [found], _ = answers(tmp_path, capsys, text(ROW | {"source_path": "caf\u00e9"}).encode("latin-1"))
    assert found == answer(ROW)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no first line with the columns engine"),
        (b'{"isl": 1000}\n', "no first line with the columns engine"),
        (text(ROW).replace(",", ";").encode(), "separated by commas"),
        (text(ROW).encode("utf-16"), "no first line"),
        (text(), "no rows below the header"),
    ],
)
def test_a_file_without_questions_says_so(content, says, tmp_path, capsys):
    status, found, err = answers(tmp_path, capsys, content)
    assert status == 1 and not found
    assert "questions.csv" in err and says in err and err.count("\n") == 1


def test_an_argument_that_a_file_of_questions_overrides_is_refused(tmp_path, capsys):
    assert main(["estimate", "--batch", str(tmp_path / "no.csv"), "--gpu", "V100", "--isl", "5"]) == 1
    assert "--gpu, --isl would have no effect" in capsys.readouterr().err


def test_each_unusable_point_of_ones_own_is_named(tmp_path, capsys):
    path = tmp_path / "own.csv"
    path.write_text(text(ROW, ROW | {"id": "fast", "tpot_ms": "fast"}, ROW | {"id": "", "tp": "x"}))
    assert main(["estimate", "--model", "llama-3-8b", "--gpu", "V100", "--calibrate", str(path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("own.csv: fast: tpot_ms: 'fast' is no number")
    assert "own.csv: row 3: tp" in second


@pytest.mark.parametrize(
    ("spelt", "like"),
    [
        ("NVIDIA H200", "H200"),
        ("nvidia h100 80gb hbm3", "H100"),
        ("H100 SXM", "H100"),
        ("H100_SXM5", "H100"),
        ("8xH100", "H100"),
        ("2 x A100-80GB", "A100"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
        ("RTX PRO 6000 Blackwell", "RTX-PRO-6000-96GB"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_gpu_is_known_however_it_is_spelt(spelt, like):
    assert gpu_cards.gpu_named(spelt) == gpu_cards.gpu_named(like)


@pytest.mark.parametrize("name", ["", "RTX 4090", "A10G", "L40", "H800", "GTX 100", "200"])
def test_another_gpu_is_not_taken_for_one_that_is_known(name):
    with pytest.raises(published_rows.Impossible, match="unknown GPU"):
        gpu_cards.gpu_named(name)


@pytest.mark.parametrize(
    ("changes", "like"),
    [
        ({"weight_precision": "FP8_E4M3"}, {"weight_precision": "fp8"}),
        ({"weight_precision": "bfloat16"}, {"weight_precision": "bf16"}),
        ({"weight_precision": "Q4_K_M"}, {"weight_precision": "q4_k_m"}),
        ({"kv_precision": "FP8"}, {"kv_precision": "fp8"}),
        ({"kv_precision": "auto"}, {"kv_precision": ""}),
        ({"engine": "trtllm"}, {"engine": "TensorRT-LLM"}),
        ({"engine": "llama_cpp"}, {"engine": "llama.cpp"}),
        ({"kind": "Concurrency"}, {"kind": "concurrency"}),
        ({"gpu_link": "PCIE 5"}, {"gpu_link": "PCIe"}),
        ({"gpu_memory_gb": "80 GB"}, {"gpu_memory_gb": "80"}),
        ({"notes": "8 experts, 2 active; active parameters: 12.9 B"}, {"notes": "MoE 8 experts top-2, 12.9B active"}),
        ({"notes": "MoE, 128 routed experts (top 8), 22B activated"}, {"notes": "MoE 128 experts top-8, 22B active"}),
    ],
)
def test_other_words_for_the_same_have_the_same_answer(changes, like):
    assert answer(DENSE | changes) == answer(DENSE | like)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight_precision": "W8A8"}, "unknown precision 'W8A8'"),
        ({"kv_precision": "int3"}, "unknown kv_precision 'int3'"),
        ({"gpu_memory_gb": "lots"}, "gpu_memory_gb 'lots'"),
        ({"gpu_memory_gb": "16"}, "no H100 has 16 GB; known: 80, 94"),
        ({"gpu_memory_gb": "81920"}, "no H100 has 81920 GB"),
        ({"notes": "MoE with 8 experts"}, "a mixture of experts without their numbers"),
        ({"notes": "MoE 8 experts top-2"}, "B active of 70.55B parameters"),  # eight of this width and depth are more than it has
        ({"notes": "MoE 2 experts top-8, 5B active"}, "top 8: between 1 and 1"),
        ({"notes": "MoE 0 experts top-0, 1B active"}, "experts 0"),
        ({"notes": "MoE 8 experts top-2, 900B active"}, "900B active of 70.55B parameters"),
        ({"notes": "head_dim 0"}, "head_dim 0"),
        ({"notes": "moe_tp 0 moe_ep 0"}, "moe_tp 0"),
        ({"notes": "throughput of = 0 replicas"}, "replicas 0"),
        ({"params_b": "70553"}, "do not fit"),
        ({"params_b": "70553000000"}, "params_b 70553000000: between"),
    ],
)
def test_what_cannot_be_meant_is_an_error(changes, says):
    found = answer(DENSE | changes)
    assert set(found) == {"id", "error"} and says in found["error"]


def test_active_parameters_follow_from_the_shape():
    """Mixtral-8x7B: 12.9B of 46.7B."""
    row = next(row for row in ROWS if row["model"].startswith("Mixtral-8x7B") and "12.9B active" in row["notes"])
    bare = published_rows.question(row | {"notes": "MoE 8 experts top-2"}).architecture
    assert bare.active_params == pytest.approx(12.9e9, rel=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_that_is_known_is_answered(precision, capsys):
    """A 4-bit or GGUF format has its memory told too, not a KeyError."""
    arguments = ["--model", "llama-3-8b", "--gpu", "GB200-192GB", "--precision", precision, "--json"]
    assert main(["estimate", *arguments]) == 0
    weights_gib = json.loads(capsys.readouterr().out)["memory_gib"]["low"]
    assert 3 < weights_gib < 33


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--model", "meta-llama/Llama-3.1-70B-Instruct"], "did you mean llama-3.1-70b?"),
        (["--gpu", "H100"], "did you mean H100-NVL-94GB or H100-80GB-SXM?"),
        (["--gpu", "NVIDIA H200"], "did you mean H200-141GB-SXM?"),
        (["--gpu", "A100-80GB"], "did you mean A100-80GB-SXM or"),
    ],
)
def test_the_nearest_names_are_offered(given, says, capsys):
    assert main(["estimate", "--model", "llama-3-70b", "--gpu", "V100", *given]) == 1
    assert says in capsys.readouterr().err


def test_all_that_is_wrong_is_said_at_once(capsys):
    arguments = ["--model", "x", "--gpu", "y", "--engine", "z", "--tp", "0", "--gpus", "1", "--concurrency", "-1", "--isl", "0"]
    assert main(["estimate", *arguments]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0].split(":")[0] for line in said] == [
        "unknown engine 'z'", "unknown model 'x'", "unknown GPU 'y'", "--tp 0", "--isl 0", "--concurrency -1",
    ]  # fmt: skip


WORDS = st.sampled_from(
    (
        "", "0", "-1", "1e9", "nan", "7", "1.5", "\u0664", "H100", "A100-0GB", "MoE", "8 experts top-2", "2 experts top-8,", "0B active",
        "0.5B active", "head_dim 0", "moe_tp 0 moe_ep 2", "DEP8", "= 0 replicas", "0-request burst", "request rate 0 req/s", "fp8", "q4_0",
        "request rate 1e9 req/s", "full attention 1 layer in 0", "sparse attention", "InferenceMAX", "vLLM", "SGLang", "TensorRT-LLM",
        "0.10", "saturated", "B200",
    )
)  # fmt: skip
CELLS = st.lists(WORDS, max_size=3).map(" ".join) | st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=6)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(tuple(ROW)), CELLS, max_size=5))
def test_no_cell_whatever_it_holds_ends_in_a_traceback(cells):
    found = answer(DENSE | cells | {"id": "asked"})
    assert found["id"] == "asked"
    for part in found.values():
        assert not isinstance(part, dict) or 0 < part["low"] <= part["value"] <= part["high"] < math.inf


SHAPES = st.fixed_dictionaries(
    {
        "layers": st.sampled_from(("16", "22", "36", "61", "90")),
        "hidden": st.sampled_from(("2048", "3072", "5120", "7168")),
        "heads": st.sampled_from(("16", "32", "48", "128")),
        "kv_heads": st.sampled_from(("2", "8", "16")),
        "intermediate": st.sampled_from(("1536", "11008", "20480")),
        "vocab": st.sampled_from(("32000", "151936", "262144")),
        "params_b": st.floats(5, 120).map("{:.3f}".format),
        "gpu": st.sampled_from(("V100-32GB", "A100-SXM4-80GB", "NVIDIA H100", "H200", "L40S-48GB", "B200")),
        "engine": st.sampled_from(("vLLM", "TensorRT-LLM", "SGLang", "llama.cpp", "another")),
        "weight_precision": st.sampled_from(("fp16", "fp8", "int8", "int4")),
        "tp": st.sampled_from(("1", "2", "4", "8")),
        "isl": st.integers(1, 30_000).map(str),
        "osl": st.integers(2, 8_000).map(str),
        "concurrency_or_batch": st.integers(1, 1024).map(str),
        "kind": st.sampled_from(("concurrency", "batch", "single", "saturated")),
        "notes": st.sampled_from(("", "MoE 16 experts top-2, 2.9B active", "head_dim 128")),
    }
)


def asked(shape):
    """A question of an architecture that nobody measured; None where no machine could run it."""
    try:
        return published_rows.question(DENSE | shape | {"gpu_memory_gb": "", "gpu_link": ""})
    except published_rows.Impossible:
        return None


def whole_request_s(question):
    found = estimate.estimate(question)
    return found.ttft_s.value + (question.output_tokens - 1) * found.tpot_s.value


@settings(max_examples=300)
@given(SHAPES)
def test_what_nobody_measured_is_answered_within_reason(shape):
    """Bounds in order, nothing below the floor, no more tokens than requests in flight and the floor allow."""
    question = asked(shape)
    if question is None:
        return
    found = estimate.estimate(question)
    for part in (found.ttft_s, found.tpot_s, found.output_tok_s):
        assert part is None or 0 < part.low <= part.value <= part.high < math.inf
    assert found.tpot_s is None or found.tpot_s.low >= found.floor_tpot_s > 0
    if found.output_tok_s and question.kind == "concurrency":
        assert found.output_tok_s.high <= question.concurrency / found.floor_tpot_s * 1.001
        peak = question.tensor_parallel * question.gpu.peaks[multiplies_in(question.weight_precision, question.gpu)]
        tables = 2 * question.architecture.vocab * question.architecture.hidden
        a_request = 2 * (question.architecture.active_params - tables) * (question.input_tokens + question.output_tokens)
        assert found.output_tok_s.high / question.output_tokens * a_request <= peak * 1.001


LOADS = {"isl": st.integers(100, 4000), "osl": st.integers(200, 2000), "concurrency_or_batch": st.integers(1, 100)}


@settings(max_examples=150, derandomize=True)
@given(SHAPES, st.fixed_dictionaries(LOADS), st.sampled_from(("concurrency", "params_b", "gpu")))
def test_more_work_or_a_slower_gpu_never_makes_a_request_quicker(shape, load, more):
    """The whole request: of a larger model fewer requests fit at once, whose tokens then come quicker, and the others wait."""
    shape = shape | {name: str(count) for name, count in load.items()} | {"kind": "concurrency"}
    harder = {
        "concurrency": {"concurrency_or_batch": str(2 * load["concurrency_or_batch"])},
        "params_b": {"params_b": str(1.5 * float(shape["params_b"])), "notes": ""},
        "gpu": {"gpu": "A100-SXM4-80GB", "weight_precision": "fp16"},
    }[more]
    quicker = {"gpu": {"gpu": "H200", "weight_precision": "fp16"}, "params_b": {"notes": ""}}.get(more, {})
    questions = asked(shape | quicker), asked(shape | harder)
    if None in questions:
        return
    first, second = map(whole_request_s, questions)
    assert first <= second * 1.001


def test_throughput_and_latency_agree_about_the_requests_in_flight():
    """Little's law, in every closed loop; LMDeploy's rates are measured, and its times rounded to a millisecond."""
    told = ("layers", "heads", "vocab", "isl", "osl", "concurrency_or_batch")
    loops = [row for row in ROWS if row["kind"] == "concurrency" and all(row[name] for name in told)]
    assert len(loops) > 1500
    for row in loops:
        question, found = published_rows.question(row), estimated(row)
        in_flight = found.output_tok_s.value * whole_request_s(question) / question.output_tokens
        exact = question.engine != "lmdeploy"
        assert in_flight == pytest.approx(question.replicas * question.concurrency, rel=1e-6 if exact else 0.6)
        assert found.output_tok_s.low <= found.output_tok_s.value <= found.output_tok_s.high
