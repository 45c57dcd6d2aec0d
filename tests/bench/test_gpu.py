"""The GPU benchmark's own parts: what a window's figures are, and a real server under its users. The measuring itself needs a GPU."""

import asyncio
import json
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.gpu import arms, load
from bench.gpu.serving import NotServing, complaints, serving
from engines import llama_cpp
from planner.choices import measured
from settings import files
from tests.engines import llama_server
from toolchain.cache import Cache

MODEL = Cache.of_user().share / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
VOCABULARY = 49152
"""SmolLM2's."""
RESULTS = files.ROOT / "bench" / "results" / "gpu_nvidia_h100_80gb_hbm3.json"


def awaited(coroutine):
    """In a thread of its own: asyncio.run leaves the one it runs in without the loop that Pulumi's mocks look for."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def answer(sent, seconds, first=None, tokens=load.ANSWER_TOKENS):
    return load.Answer(sent=sent, ended=sent + seconds, first=first, tokens=tokens)


def test_a_window_counts_what_ends_in_it_and_what_is_whole():
    answers = [
        answer(8, 1.5, first=0.1),  # before
        answer(9, 2.0, first=0.2),
        answer(10, 4.0),
        answer(12, 3.0, first=0.4),
        answer(13, 1.0, tokens=40),  # ended by the model
        answer(18, 3.0, first=0.1),  # after
    ]
    seen = load.summary(answers, users=2, start=10, end=20)
    assert (seen.requests, seen.short) == (3, 1)
    assert seen.requests_s == 0.3 and seen.throughput_tok_s == 30
    assert seen.latency_s == 3.0 and seen.latency_p95_s == pytest.approx(3.9) and seen.latency_mean_s == 3.0
    assert seen.in_flight == pytest.approx(0.9)
    assert seen.ttft_ms == pytest.approx(300)
    assert seen.tpot_ms == pytest.approx((1.8 + 2.6) / 2 / 99 * 1000, abs=0.001)


def test_a_window_without_a_streamed_answer_is_refused():
    with pytest.raises(load.TooShort, match=r"3 users.*longer"):
        load.summary([answer(1, 1)], users=3, start=0, end=10)


def test_the_guides_arm_is_the_rendered_command_line_but_for_the_place():
    guide = arms.guide()
    assert not set(guide.options) & set(arms.PLACED)
    assert guide.options["--parallel"] == "32" and guide.options["--flash-attn"] == "on" and "--kv-unified" in guide.flags
    assert llama_cpp.GGUF_TYPES["int8"] == guide.precision


def test_every_flag_of_every_arm_is_one_of_the_pinned_version():
    known = llama_server.known()
    tuned = arms.guide()
    for arm in (arms.UNTUNED, arms.DEFAULTS, tuned, *arms.candidates(tuned), *arms.ablation(tuned), arms.too_large(tuned)):
        for flag, value in arm.options.items():
            assert flag in known, f"{arm.name}: {flag}"
            assert known[flag] == (value is not None), f"{arm.name}: {flag} {value}"


def test_names_are_what_tells_arms_apart():
    tuned = arms.guide()
    names = [arm.name for arm in (arms.UNTUNED, arms.DEFAULTS, tuned, *arms.candidates(tuned), *arms.ablation(tuned))]
    assert len(names) == len(set(names))


LOG = """\
0.00.195.046 I srv  llama_server: initializing ...
0.02.722.702 E alloc_buffer: allocating 278528.00 MiB on device 0: cudaMalloc failed: out of memory
0.02.738.398 E cmn  common_init_: failed to create context with model '/models/of/mine/Q8_0.gguf'
0.02.738.408 E cmn  common_init_: failed to create context with model '/models/of/mine/Q8_0.gguf'
0.02.738.425 I srv    operator(): operator(): cleaning up before exit...
"""


def test_of_a_failed_servers_log_its_errors_are_kept():
    assert complaints(LOG) == [
        "alloc_buffer: allocating 278528.00 MiB on device 0: cudaMalloc failed: out of memory",
        "cmn  common_init_: failed to create context with model 'Q8_0.gguf'",
    ]
    assert complaints("Illegal instruction\n\n") == ["Illegal instruction"]


@pytest.fixture(scope="module")
def kept():
    return json.loads(RESULTS.read_text())


STAGES = ("search", "rows", "users", "ablation")


def test_each_row_of_the_results_follows_from_what_was_counted(kept):
    """Rounded as written: half of a unit of each last figure."""
    usd = kept["price"]["usd_per_hour"]
    for row in (row for stage in STAGES for row in kept[stage]):
        assert row["requests_s"] == pytest.approx(row["requests"] / row["window_s"], rel=0.01), row["arm"]
        assert row["throughput_tok_s"] == pytest.approx(row["requests_s"] * row["osl"], abs=0.1)
        assert row["in_flight"] == pytest.approx(row["requests_s"] * row["latency_mean_s"], abs=0.1)
        assert row["joules_per_token"] == pytest.approx(row["joules"] / row["requests"] / row["osl"], rel=0.001)
        assert row["usd_per_million_tokens"] == pytest.approx(usd / 3600 / row["throughput_tok_s"] * 1e6, abs=0.001)
        assert row["latency_s"] <= row["latency_p95_s"] and row["memory_mib"] < kept["machine"]["memory_mib"]


def test_the_results_are_of_the_arms_that_the_program_measures(kept):
    tuned = arms.guide()
    named = {arm.name: arm for arm in (arms.UNTUNED, arms.DEFAULTS, tuned, *arms.candidates(tuned), *arms.ablation(tuned))}
    for row in (row for stage in STAGES for row in kept[stage]):
        arm = named[row["arm"]]
        assert (row["slots"], row["precision"]) == (arm.slots, arms.PRECISIONS[arm.precision])
        assert len(kept["arms"][arm.name]["commands"]) == arm.servers
    assert {row["arm"] for row in kept["search"]} == {arm.name for arm in arms.candidates(tuned)}
    assert [row["arm"] for row in kept["ablation"]] == [arm.name for arm in arms.ablation(tuned)]
    assert {row["arm"] for row in kept["users"]} == {kept["best"], kept["fastest"]}


def test_each_row_can_be_put_beside_an_estimate(kept):
    compared = measured.compare(RESULTS)
    assert [(one.name, one.error, len(one.pairs)) for one in compared] == [
        (row["arm"], "", len(measured.QUANTITIES)) for row in kept["rows"]
    ]
    assert [one.entry.slots for one in compared] == [row["slots"] for row in kept["rows"]]


def test_the_best_is_the_one_that_the_search_found(kept):
    assert [arm.name for arm in arms.found(kept)] == [kept["best"], kept["fastest"]]


@pytest.fixture
def small(tmp_path):
    """The programs and models of a run, with a small real model, and an arm of a few slots for it."""
    program = shutil.which("llama-server")
    if not program or not MODEL.exists():
        pytest.skip("needs llama-server and SmolLM2: make toolchain")
    (tmp_path / "F16.gguf").symlink_to(MODEL)
    arm = arms.UNTUNED.but("small", "a test", options={"--parallel": "4", "--ctx-size": "1024", "--threads": "2", "--n-gpu-layers": "0"})
    return arm, Path(program).parent, tmp_path, tmp_path / "logs"


@pytest.mark.engine
def test_users_are_all_answered_by_a_real_server(small, monkeypatch):
    monkeypatch.setattr(load, "ANSWER_TOKENS", 10)

    def answered(servers, window_s):
        """On a busy machine a window may be too short for an answer."""
        try:
            return awaited(load.run(servers.urls, 3, 4, VOCABULARY, 1, window_s))
        except load.TooShort:
            return answered(servers, 3 * window_s) if window_s < 100 else pytest.fail("no answer within 100 s")

    with serving(*small) as servers:
        before = servers.steps()
        seen = answered(servers, 5)
        assert seen.requests >= 1 and 0 < seen.ttft_ms < seen.latency_p95_s * 1e3
        assert servers.steps() - before >= load.ANSWER_TOKENS
        [process] = servers.processes
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{servers.urls[0]}/health", timeout=2)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.engine
def test_a_server_that_cannot_start_says_why(small):
    arm, *places = small
    with pytest.raises(NotServing, match="--parallel"), serving(arm.but("wrong", "a test", options={"--parallel": "many"}), *places):
        pass


@pytest.mark.engine
def test_a_failed_request_ends_the_run(small):
    with serving(*small) as servers, pytest.raises(RuntimeError, match="status 4"):
        awaited(load.run([f"{servers.urls[0]}/nowhere"], 2, 4, VOCABULARY, 2, 2))
