"""`python -m planner estimate`: known measurements, the floor, a file of questions, questions that cannot be answered."""

import csv
import dataclasses
import json
import math
import random
import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.performance import results
from bench.performance.observations import measured_rows
from planner.__main__ import main
from planner.catalogue import hardware, mig, model_shapes
from planner.fit import estimate_question
from planner.performance import batch, calibrate, clients, estimate, model, published_rows, questions

GUIDE = estimate_question.Ask(
    model="llama-3-70b", gpu="H100-80GB-SXM", gpus=4, tp=4, pp=1, precision="fp8", isl=1000, osl=1000, concurrency=16, engine="vllm"
)
QUANTITIES = ("ttft_ms", "tpot_ms", "throughput_tok_s", "requests_s", "memory_gib")
ROWS = [row for row in measured_rows() if not clients.not_deployed(row)]


def ask(**changes):
    return estimate_question.answer(dataclasses.replace(GUIDE, **changes), {})


def value(found, quantity):
    return found[quantity]["value"]


def command(capsys, *arguments):
    status = main(["estimate", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_measured_layout_is_met():
    """121 ms and 13.19 ms a token: ai-dynamo/aiconfigurator's measurement of this layout (vLLM, 70B FP8, 1k/1k).

    InferenceMAX ran it: an 8-bit cache, and lengths of 0.9 of those stated on average.
    """
    found = ask(isl=922, osl=922, kv_precision="fp8")
    assert value(found, "ttft_ms") == pytest.approx(121, rel=0.3)
    assert value(found, "tpot_ms") == pytest.approx(13.19, rel=0.1)
    assert value(found, "throughput_tok_s") == pytest.approx(16 * 922 / (0.121 + 921 * 0.01319), rel=0.1)
    assert not found["extrapolated"]


def test_the_guides_layout_misses_two_seconds_by_its_floor_alone():
    found = ask(model="llama-2-70b", gpu="V100", gpus=8, tp=1, pp=8, precision="int8", isl=500, osl=100, concurrency=1)
    assert found["floor_tpot_ms"] == pytest.approx(77, abs=2)  # 69 GB / 900 GB/s
    assert value(found, "tpot_ms") > found["floor_tpot_ms"]
    assert found["extrapolated"]


def test_ranges_hold_their_value_and_throughput_follows_from_the_times():
    found = ask()
    for quantity in QUANTITIES:
        assert 0 < found[quantity]["low"] <= found[quantity]["value"] <= found[quantity]["high"]
    assert value(found, "throughput_tok_s") == pytest.approx(1000 * value(found, "requests_s"), rel=1e-3)


@settings(max_examples=200)
@given(
    model=st.sampled_from(("llama-3-8b", "llama-3-70b", "mixtral-8x7b", "qwen3-30b-a3b")),
    gpu=st.sampled_from(("A100-80GB-SXM", "H100-80GB-SXM", "H200-141GB-SXM", "V100", "GB200-192GB")),
    tp=st.sampled_from((1, 2, 4)),
    pp=st.sampled_from((1, 2, 4)),
    precision=st.sampled_from(("fp16", "fp8", "int8", "int4")),
    concurrency=st.integers(1, 2000),
    isl=st.integers(1, 4000),
    osl=st.integers(1, 4000),
    engine=st.sampled_from(tuple(estimate_question.ENGINES)),
)
def test_no_estimate_is_below_its_floor(model, gpu, tp, pp, precision, concurrency, isl, osl, engine):
    changes = dict(
        model=model, gpu=gpu, gpus=tp * pp, tp=tp, pp=pp, precision=precision, isl=isl, osl=osl, concurrency=concurrency, engine=engine
    )
    try:
        found = ask(**changes)
    except published_rows.Impossible as error:
        assert any(part in str(error) for part in ("do not fit", "tensor cores", "context"))
        return
    assert 0 < found["floor_tpot_ms"] <= value(found, "tpot_ms") * 1.001
    assert all(math.isfinite(found[quantity][bound]) for quantity in QUANTITIES for bound in ("low", "value", "high"))


@pytest.mark.parametrize(
    ("slower", "quantity"),
    [
        (dict(concurrency=64), "tpot_ms"),
        (dict(concurrency=64), "ttft_ms"),
        (dict(isl=4000), "ttft_ms"),
        (dict(precision="fp16"), "tpot_ms"),
        (dict(gpu="A100-80GB-SXM", precision="int8"), "tpot_ms"),
        (dict(tp=2, gpus=2), "tpot_ms"),
        (dict(concurrency=64), "throughput_tok_s"),
        (dict(isl=4000), "memory_gib"),
    ],
)
def test_more_work_or_a_smaller_machine_takes_more(slower, quantity):
    assert value(ask(**slower), quantity) > value(ask(), quantity)


def test_replicas_share_the_requests():
    assert value(ask(gpus=8, concurrency=32), "tpot_ms") == pytest.approx(value(ask(), "tpot_ms"))
    assert value(ask(gpus=8, concurrency=32), "throughput_tok_s") == pytest.approx(2 * value(ask(), "throughput_tok_s"), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model="gpt-9"), "unknown model 'gpt-9'; the catalogue has llama-2-7b"),
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
        assert list(_lines([row])) == list(_lines([bare]))


def _lines(rows):
    text = [",".join(rows[0]), *(",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows)]
    return batch.lines(text, {})


def test_every_measured_row_can_be_asked():
    """A refusal of something that was measured would be wrong; rows without an architecture say so."""
    refused = {line["error"] for line in map(json.loads, _lines(ROWS)) if "error" in line}
    assert refused == {"the architecture's columns are empty: params_b, layers, hidden, heads, intermediate, vocab"}


def _errors(rows):
    found = {}
    for row in rows:
        try:
            question = published_rows.question(row)
        except published_rows.Impossible:
            continue
        answer = estimate.estimate(question)
        parts = (
            ("ttft", "ttft_ms", answer.ttft_s, 1e-3),
            ("tpot", "tpot_ms", answer.tpot_s, 1e-3),
            ("rate", "output_tok_s", answer.output_tok_s, 1),
        )
        for quantity, column, part, unit in parts:
            if part is not None and row[column] and not (quantity == "rate" and estimate.rate_follows(question)):
                name = estimate.target(question, quantity) or f"served_{quantity}"
                found.setdefault(name, []).append((question.gpu.family, abs(part.value / (float(row[column]) * unit) - 1) * 100))
    return found


def test_the_stored_constants_give_the_stored_error():
    """The fit's report is of the planner's constants: a constant or an equation changed alone shows here.

    The fit takes the 45 open loops' requests in flight from their measurements, the estimate works them out: so a little apart.
    """
    stored = json.loads(results.REPORT.read_text())["inside"]
    found = _errors(ROWS)
    under_load = [error for _, error in found["served_ttft"]]
    rates = [
        e for name in ("static_rate", "saturated_rate", "served_rate") for f, e in found[name] if f in ("V100", "A100", "H100", "H200")
    ]
    for name, errors in (("time to first token, under load", under_load), ("output tokens/s, V100, A100, H100, H200", rates)):
        assert len(errors) == pytest.approx(stored[name]["rows"], abs=45)
        assert statistics.median(errors) == pytest.approx(stored[name]["median"], abs=0.2)


def test_an_open_loop_is_answered_by_its_rate():
    """45 measured rows give requests a second and no concurrency; twice the rate never takes less time."""
    slow = next(row for row in ROWS if "request rate 2 req/s" in row["notes"])
    fast = slow | {"notes": slow["notes"].replace("rate 2 ", "rate 8 ")}
    first, second = (estimate.estimate(published_rows.question(row)) for row in (slow, fast))
    assert first.tpot_s.value == pytest.approx(float(slow["tpot_ms"]) / 1e3, rel=0.25)
    assert first.tpot_s.value < second.tpot_s.value and first.output_tok_s.value < second.output_tok_s.value
    bare = estimate.estimate(published_rows.question(slow | {"notes": ""}))
    assert bare.ttft_s is bare.tpot_s is bare.output_tok_s is None


def test_an_estimate_takes_less_than_ten_milliseconds():
    questions = [published_rows.question(row) for row in random.Random(2).sample(ROWS, 200) if row["layers"]]
    started = time.process_time()
    for question in questions:
        estimate.estimate(question)
    assert (time.process_time() - started) / len(questions) < 0.01


def test_a_source_whose_scripts_are_known_is_read_by_them():
    """InferenceMAX states the longest request, caches in 8 bits, and lets requests wait for 20 or 30 steps on some engines."""
    row = next(r for r in ROWS if "InferenceMAX" in r["notes"] and r["engine"] == "TensorRT-LLM" and r["model"] == "Llama-3.1-70B"
               and (r["isl"], r["osl"], r["tp"]) == ("1024", "1024", "4"))  # fmt: skip
    asked = published_rows.question(row)
    assert (asked.input_tokens, asked.kv_precision, asked.admission_steps) == (pytest.approx(921.6), "fp8", 20.0)
    assert published_rows.question(row | {"tp": "8"}).admission_steps == 0
    bare = published_rows.question(row | {"notes": "", "engine": "vLLM"})
    assert (bare.input_tokens, bare.kv_precision, bare.admission_steps) == (1024, "fp16", 0)
    polled = next(r for r in ROWS if r["engine"] == "SGLang" and r["gpu"].startswith("B200") and r["model"] == "DeepSeek-R1")
    assert [published_rows.question(polled | {"concurrency_or_batch": c}).admission_steps for c in ("8", "16")] == [10, 30]
    without = dataclasses.replace(asked, admission_steps=0.0)
    assert estimate.estimate(asked).ttft_s.value > 1.3 * estimate.estimate(without).ttft_s.value


def test_requests_wait_for_room_for_their_whole_answer_under_tensorrt_llm():
    """128 requests of 1024 / 8192 on one H200: 369 s to the first token were measured, as only a third of them fit."""
    row = next(r for r in ROWS if r["engine"] == "TensorRT-LLM" and r["gpu"].startswith("H200") and r["model"] == "Llama-3.1-70B"
               and (r["tp"], r["osl"], r["concurrency_or_batch"]) == ("1", "8192", "128"))  # fmt: skip
    assert estimate.estimate(published_rows.question(row)).ttft_s.value == pytest.approx(float(row["ttft_ms"]) / 1e3, rel=0.3)


SERVED = next(r for r in ROWS if r["kind"] == "concurrency" and r["ttft_ms"] and r["tpot_ms"] and r["isl"] and r["concurrency_or_batch"])


def _file(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_points_of_ones_own_move_their_quantity_and_an_outlier_does_not(capsys, tmp_path):
    guess = json.loads(next(_lines([SERVED])))
    measured = [SERVED | {"tpot_ms": guess["tpot_ms"]["value"] * f, "ttft_ms": "", "output_tok_s": ""} for f in (1.2, 1.2, 1.25, 5.0)]
    path = _file(tmp_path / "own.csv", measured)
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
        _, work, k = estimate.prepared(question(requests))
        late = math.exp(estimate.TARGETS["served_tpot"](work, k, math.log)) + 3e-3
        return calibrate.Point(target="served_tpot", work=work, constants=k, measured=math.log(late))

    shifts = {"tpot": calibrate.moved([point(2), point(16), point(256)])}

    def slower(requests, by):
        return estimate.estimate(question(requests), by).tpot_s.value / estimate.estimate(question(requests)).tpot_s.value

    assert slower(4, shifts) > slower(128, shifts) + 0.03
    for requests in (4, 128):
        truth = math.exp(point(requests).measured) / estimate.estimate(question(requests)).tpot_s.value
        assert slower(requests, shifts) == pytest.approx(truth, abs=0.04)


def test_a_file_without_a_result_calibrates_nothing(capsys, tmp_path):
    path = _file(tmp_path / "own.csv", [SERVED | dict.fromkeys(("ttft_ms", "tpot_ms", "output_tok_s"), "")])
    status, _, err = command(capsys, "--batch", str(path), "--calibrate", str(path))
    assert status == 1 and "no row has a value in ttft_ms, tpot_ms, output_tok_s" in err


def test_calibration_leaves_no_time_below_the_floor():
    swift = {"tpot": {"served_tpot_offset": -9.0}}
    answer = estimate.estimate(published_rows.question(SERVED), swift)
    assert answer.tpot_s.low == answer.tpot_s.value == answer.floor_tpot_s


def test_a_prompt_of_512_gpt_oss_requests_at_once_waits_in_waves():
    """117,788 ms to the first token at 3.57 ms a token: InferenceMAX's script ran a few of the 512 requests at a time."""
    row = next(r for r in ROWS if r["id"] == "aic-2381")
    asked = published_rows.question(row)
    assert (asked.concurrency, asked.most_running) == (88.0, 16.0)
    answer = estimate.estimate(asked)
    assert answer.tpot_s.value < 3 * float(row["tpot_ms"]) / 1e3
    assert answer.ttft_s.value == pytest.approx(4.5 * asked.output_tokens * answer.tpot_s.value, rel=0.5)
    for plain in ({"source_date": "2026-02-01"}, {"gpu": "H200-SXM-141GB"}, {"concurrency_or_batch": "256"}, {"engine": "SGLang"}):
        assert published_rows.question(row | plain).most_running > 1e5


def test_requests_in_step_wait_for_half_of_all_prefills():
    """lmdeploy's tables of fixed lengths, and SGLang 0.5.1 of the gap analysis, whose time to the first token grows with all requests."""
    fixed = [r for r in ROWS if r["engine"].startswith("LMDeploy") and r["notes"].startswith("fixed") and r["kind"] == "concurrency"]
    gap = [r for r in ROWS if r["engine"] == "SGLang" and r["engine_version"].startswith("0.5.1.")]
    shared = [r for r in ROWS if r["engine"].startswith("LMDeploy") and r["notes"].startswith("ShareGPT")]
    for rows, together in ((fixed, 1.0), (gap, 1.0), (shared, 0.1)):
        assert rows and {published_rows.question(row).together for row in rows} == {together}
    row = next(r for r in gap if (r["tp"], r["isl"], r["osl"], r["concurrency_or_batch"]) == ("2", "1024", "128", "128"))
    asked = published_rows.question(row)
    apart = dataclasses.replace(asked, together=0.1)
    assert estimate.estimate(asked).ttft_s.value == pytest.approx(float(row["ttft_ms"]) / 1e3, rel=0.25)
    assert estimate.estimate(apart).ttft_s.value < estimate.estimate(asked).ttft_s.value / 3
    assert estimate.estimate(apart).tpot_s.value > estimate.estimate(asked).tpot_s.value


def test_a_short_prompt_rides_with_a_step():
    """vLLM 0.20 on an H100, 32 tokens in: of 8.96 ms a step with 97 requests, 6.51 are there with one. A pass of its own would take about
    as long as that step, once a token with 100 tokens out; a prompt of 4,096 is far more than its step."""
    row = next(
        r for r in ROWS if r["source_repo_or_page"] == published_rows.OUR_OWN and (r["weight_precision"], r["isl"]) == ("fp16", "32")
    )
    for tokens, low, high in (("32", 0, 0.25), ("4096", 0.85, 1)):
        _, w, k = estimate.prepared(published_rows.question(row | {"isl": tokens}))
        assert low < model.prompt_added_s(w, k) / model.prefill_s(w, k, w.isl, w.isl) < high


def test_requests_beyond_the_cache_bring_no_tokens():
    """A closed loop gives what the requests give that run; those that wait for KV space wait that much longer."""
    row = next(r for r in ROWS if r["engine"].startswith("LMDeploy") and r["model"] == "Llama-2-13B" and r["isl"] == r["osl"] == "2048")
    rates = [estimate.estimate(published_rows.question(row | {"kind": "concurrency", "concurrency_or_batch": str(c)})) for c in (8, 16, 64)]
    few, full, more = (answer.output_tok_s.value for answer in rates)
    assert full > few and more == pytest.approx(full, rel=0.15)
    assert rates[2].ttft_s.value > 1.8 * rates[1].ttft_s.value


def test_a_latent_vector_is_attended_to_by_its_wider_heads():
    """DeepSeek-V3: 61 layers, 128 heads of 192 for queries and keys and of 128 for values; 2 FLOP a multiplication and addition."""
    row = next(r for r in ROWS if r["model"] == "DeepSeek-R1")
    assert questions.work(published_rows.question(row)).attention_flops == 61 * 128 * (192 + 128) * 2


def test_what_is_no_expert_of_a_sparse_model_is_its_attention_at_least():
    """gpt-oss-120b: 0.96 billion of 117 in attention (its model card); the two tables of 0.58 are no part of it."""
    row = next(r for r in ROWS if r["model"] == "gpt-oss-120b" and r["layers"])
    dense = questions.work(published_rows.question(row)).dense_flops / 2
    assert dense == pytest.approx(0.96e9, rel=0.05)


def test_every_gpu_and_model_of_the_catalogue_is_known():
    for name in hardware.gpu_names():
        assert published_rows.gpu_of(hardware.gpu(name)).bandwidth == hardware.gpu(name).bandwidth_gb_s * 1e9
    for shape in model_shapes.models().values():
        made = estimate_question.architecture(shape)
        assert 0 < made.active_params <= made.params


def test_the_plan_and_the_fit_read_one_table_of_gpus():
    """Each had a table of its own: memories that differed by 1.4 %, a V100 of 150 GB/s to its neighbours where Azure's has PCIe's 16."""
    names = {card.name for cards in hardware.cards().values() for card in cards}
    assert set(hardware.gpu_names()) < names and len(names) == 20
    for name in hardware.gpu_names():
        own = hardware.gpu(name)
        assert own.name in {card.name for card in hardware.cards()[own.family]}
        if name != "V100":
            # Published rows that name no more than a V100 ran on the SXM2 card.
            assert published_rows.gpu(name) == published_rows.gpu_of(own), name
    assert published_rows.gpu_of(hardware.gpu("V100")) == published_rows.gpu("V100-PCIe-16GB")
    assert published_rows.gpu("V100-SXM2-16GB").link == 150e9


def test_a_slice_of_a_gpu_is_slower_in_every_precision():
    """Peaks that only the fit's own table had were not divided: 16 bits of a GB200, FP8 of an H100 NVL."""
    for name in ("GB200-192GB", "H100-NVL-94GB"):
        whole = hardware.gpu(name)
        _, part = mig.cut(hardware.gpu_size("Standard_NC40ads_H100_v5", "eastus"), whole, "MIG3g")
        peaks, halves = (published_rows.gpu_of(one).peaks for one in (whole, part))
        assert halves == {precision: peak / 2 for precision, peak in peaks.items()} and "fp8" in halves
