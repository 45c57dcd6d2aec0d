"""How the sources' clients and servers were set up: bursts, waves, steps between admissions, room for a whole answer."""

import dataclasses

import pytest

from planner.performance import estimate, published_rows
from tests.planner.performance.asking import ROWS


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


def test_requests_beyond_the_cache_bring_no_tokens():
    """A closed loop gives what the requests give that run; those that wait for KV space wait that much longer."""
    row = next(r for r in ROWS if r["engine"].startswith("LMDeploy") and r["model"] == "Llama-2-13B" and r["isl"] == r["osl"] == "2048")
    rates = [estimate.estimate(published_rows.question(row | {"kind": "concurrency", "concurrency_or_batch": str(c)})) for c in (8, 16, 64)]
    few, full, more = (answer.output_tok_s.value for answer in rates)
    assert full > few and more == pytest.approx(full, rel=0.15)
    assert rates[2].ttft_s.value > 1.8 * rates[1].ttft_s.value
