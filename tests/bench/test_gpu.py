"""The GPU benchmark's own parts: what a window's figures are, and a real server under its users. The measuring itself needs a GPU."""

import contextlib
import dataclasses
import json
import shlex
import urllib.request
from pathlib import Path

import pytest

from bench.gpu import arms, checkpoint, deployed, lines, llama_cpp, load, vllm
from bench.gpu.serving import NotServing, complaints, serving
from engines.ablations import SOURCES
from engines.llama_cpp.command_line import GGUF_TYPES
from planner.catalogue import model_shapes
from rehearsal.programs import find_program
from reports import comparison
from serve.substitutions import pairs
from settings import files
from tests.engines import llama_server, vllm_flags
from toolchain.cache import Cache

MODEL = Cache.of_user().share / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
VOCABULARY = 49152
"""SmolLM2's."""
TOKENS = 10
"""The length of an answer; the model ends many longer ones by itself."""
ENGINES = {
    "llama_cpp": llama_cpp.LlamaCpp(programs=None, work=Path("nowhere")),
    "vllm": vllm.Vllm(programs=Path("nowhere"), work=Path("nowhere")),
}


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


def test_a_window_without_a_streamed_answer_tells_no_first_token():
    seen = load.summary([answer(1, 1), answer(2, 2)], users=3, start=0, end=10)
    assert (seen.requests, seen.latency_s, seen.ttft_ms, seen.ttft_p95_ms, seen.tpot_ms) == (2, 1.5, None, None, None)


def test_a_window_without_an_answer_is_refused():
    with pytest.raises(load.TooShort, match=r"3 users.*longer"):
        load.summary([answer(1, 100)], users=3, start=0, end=10)


def test_the_guides_arm_is_the_rendered_command_line_but_for_the_place():
    guide = ENGINES["llama_cpp"].guide()
    rendered = dict(pairs(deployed.deployed("llama_cpp").server.args))
    assert {flag for flag, value in rendered.items() if guide.options.get(flag, "") != value} == {"--model", "--host", "--port"}
    assert guide.options.keys() <= rendered.keys() and guide.options["--parallel"] == str(batch_of("llama_cpp"))
    assert GGUF_TYPES["int8"] == guide.precision


def test_the_guides_arm_of_vllm_is_the_rendered_command_line_but_for_the_place():
    guide = ENGINES["vllm"].guide()
    assert not set(guide.options) & {"serve", "--served-model-name", "--host", "--port"}
    assert guide.options["--max-num-seqs"] == str(batch_of("vllm")) and "--attention-backend" not in guide.options
    assert guide.options["--quantization"] == "compressed-tensors" and guide.precision == "INT8"
    assert "OMP_NUM_THREADS" in dict(guide.environment)
    assert guide.options["--kv-cache-memory-bytes"] == vllm.UNTUNED.options["--kv-cache-memory-bytes"]


def batch_of(engine):
    """Returns the deployed server of the stack."""
    return deployed.deployed(engine).plan.settings.coordinator.config.dynamic_batching.max_batch_size


def test_what_is_measured_is_prods_stack_as_it_is_deployed():
    """A benchmark's own stack had the first-level cache off, and nobody saw that no server with it on could start."""
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    settings = deployed.deployed("vllm").plan.settings
    assert settings.caching.l1_cache == prod.caching.l1_cache and prod.caching.l1_cache.enabled
    assert settings.model.kv_cache == prod.model.kv_cache and settings.model.quantization == prod.model.quantization
    assert "--kv-offloading-size" in ENGINES["vllm"].guide().flags


def test_in_what_a_process_differs_from_its_pod_is_computed():
    pod = deployed.deployed("vllm")
    serve, _, *rest = pod.server.args
    here = [serve, "/tmp/weights", *rest, "--seed", "1"]
    here[here.index("--max-num-seqs") + 1] = "7"
    here.remove("--enable-prefix-caching")
    environment = pod.environment | {"GC_THREADS": "3", "HOME": "/root"}
    found = {one.what: (one.pod, one.here) for one in deployed.differences(pod.server, here, environment, "vllm 0.20.2")}
    assert found.pop("release") == (pod.server.image, "vllm 0.20.2")
    for elsewhere in ("weights", "container", "CPUs", "memory"):
        del found[elsewhere]
    assert found == {
        "serve": ("/data/llama-3-8b", "/tmp/weights"),
        "--max-num-seqs": ("100", "7"),
        "--enable-prefix-caching": ("set", "not set"),
        "--seed": ("not set", "1"),
        "GC_THREADS": ("8", "3"),
        "HOME": ("/tmp", "/root"),
    }


def test_the_lines_that_are_started_are_what_the_guide_lets_one_choose():
    """Weights of 8 and 16 bits, a cache of 8 and of 16, the first-level cache on and off, a small and a large model."""
    every = [line for group in lines.GROUPS for line in group.lines]
    assert len({line.name for line in every}) == len(every)
    small = {line.name: deployed.deployed("vllm", line.size, line.model, line.changes).server.args for line in every if line.from_disk}
    seen = {("--quantization" in args, args[args.index("--kv-cache-dtype") + 1], "--kv-offloading-size" in args) for args in small.values()}
    assert seen == {(weights, kv, l1) for weights in (True, False) for kv in ("fp8", "auto") for l1 in (True, False)}
    assert {line.checkpoint for line in every} == {"INT8", "FP8", "F16"} and len({line.model for line in every}) == 2


def test_every_flag_of_every_arm_is_one_of_the_pinned_version():
    known = llama_server.known()
    for arm in (*arms.all_of(ENGINES["llama_cpp"]), llama_cpp.too_large(ENGINES["llama_cpp"].guide())):
        for flag, value in arm.options.items():
            assert flag in known, f"{arm.name}: {flag}"
            assert known[flag] == (value is not None), f"{arm.name}: {flag} {value}"


def test_every_flag_of_every_arm_of_vllm_is_one_of_the_release_that_is_measured():
    flags, variables = vllm_flags.known(vllm.VERSION)
    for arm in (*arms.all_of(ENGINES["vllm"]), vllm.too_large(ENGINES["vllm"].guide())):
        for flag, value in arm.options.items():
            assert flag in flags, f"{arm.name}: {flag}"
            assert flags[flag].value == (value is not None), f"{arm.name}: {flag} {value}"
        assert {name for name, _ in arm.environment if name.startswith("VLLM_")} <= variables, arm.name


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_names_are_what_tells_arms_apart(engine):
    names = [arm.name for arm in arms.all_of(engine)]
    assert len(names) == len(set(names))


def test_slots_are_those_of_all_servers():
    slots = {arm.name: engine.slots(arm) for engine in ENGINES.values() for arm in engine.candidates(engine.guide())}
    assert slots["8 servers with MPS"] == 104 and slots["2 servers with MPS, FP8, lean"] == 1024
    assert [engine.slots(engine.defaults) for engine in ENGINES.values()] == [4, 1024]


def test_steps_are_not_told_where_several_servers_count_them():
    [several] = [arm for arm in vllm.candidates(ENGINES["vllm"].guide()) if "--api-server-count" in arm.options]
    assert ENGINES["vllm"].steps(several) is None and ENGINES["vllm"].steps(ENGINES["vllm"].guide())


@pytest.mark.parametrize("precision", checkpoint.QUANTIZATION)
def test_a_checkpoint_is_described_as_the_model_is(tmp_path, precision):
    shape = model_shapes.models()[deployed.MODEL]
    checkpoint.describe(tmp_path, shape, precision)
    config, tokenizer = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("config", "tokenizer"))
    assert len(tokenizer["model"]["vocab"]) == config["vocab_size"] == shape.vocab
    assert set(checkpoint.letters()) <= set(tokenizer["model"]["vocab"]) and len(set(checkpoint.letters())) == 256
    assert tokenizer["added_tokens"][0]["id"] == config["eos_token_id"]
    quantization = config.get("quantization_config", {}).get("config_groups", {}).get("group_0")
    assert (quantization is None) == (precision == "F16")
    if quantization:
        bits = {"FP8": 8, "INT8": 8, "INT4": 4}[precision]
        assert quantization["weights"]["num_bits"] == bits and (quantization["input_activations"] is None) == (bits == 4)
    sizes = dict(size for _, tensors in checkpoint.files(config) for size in tensors.items())
    weights = sum(rows[0] * (rows[1] if len(rows) > 1 else 1) for rows in sizes.values())
    assert weights == pytest.approx(shape.params_b * 1e9, rel=0.001)


LOG = """\
0.00.195.046 I srv  llama_server: initializing ...
0.02.722.702 E alloc_buffer: allocating 278528.00 MiB on device 0: cudaMalloc failed: out of memory
0.02.738.398 E cmn  common_init_: failed to create context with model '/models/of/mine/Q8_0.gguf'
0.02.738.408 E cmn  common_init_: failed to create context with model '/models/of/mine/Q8_0.gguf'
0.02.738.425 I srv    operator(): operator(): cleaning up before exit...
"""


def test_of_a_failed_servers_log_its_errors_are_kept():
    assert complaints(LOG, llama_cpp.LlamaCpp.complaint) == [
        "alloc_buffer: allocating 278528.00 MiB on device 0: cudaMalloc failed: out of memory",
        "cmn  common_init_: failed to create context with model 'Q8_0.gguf'",
    ]
    assert complaints("Illegal instruction\n\n", llama_cpp.LlamaCpp.complaint) == ["Illegal instruction"]


LOG_OF_VLLM = """\
(APIServer pid=633) INFO 11-25 21:46:50 [model.py:555] Resolved architecture: LlamaForCausalLM
(APIServer pid=633) WARNING 11-25 21:46:50 [system_utils.py:294] Found a limit that can cause `OSError: Too many open files`.
(EngineCore pid=747) ERROR 11-25 21:48:04 [core.py:1136]     self.impl.forward(
(EngineCore pid=747) ERROR 11-25 21:48:04 [core.py:1136] RuntimeError: For FP8 input, output must have dtype BF16
(EngineCore pid=747) RuntimeError: For FP8 input, output must have dtype BF16
(APIServer pid=633) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_of_a_failed_vllms_log_its_errors_are_kept():
    assert complaints(LOG_OF_VLLM, vllm.Vllm.complaint) == [
        "RuntimeError: For FP8 input, output must have dtype BF16",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]


STAGES = ("search", "rows", "users", "ablation")
MEASURED_BEFORE = {"llama.cpp": {"--kv-unified left out", "100 slots on the GPU, cache for each"}, "vllm": set()}
"""Arms of the results that are what is rendered since, where the others of their time had another line: the results have each line."""
NOT_MEASURED = {"llama.cpp": {"--kv-unified", "100 slots on the GPU, one cache"}, "vllm": set()}
"""Those that took their places."""


@pytest.fixture(scope="module", params=ENGINES)
def results(request):
    """An engine and what was written of it."""
    return ENGINES[request.param], json.loads((files.ROOT / SOURCES[request.param]).read_text())


def measured_rows(kept):
    return [row for stage in STAGES for row in kept[stage] if "error" not in row]


def test_each_row_of_the_results_follows_from_what_was_counted(results):
    """Rounded as written: half of a unit of each last figure."""
    _, kept = results
    usd = kept["price"]["usd_per_hour"]
    for row in measured_rows(kept):
        assert row["requests_s"] == pytest.approx(row["requests"] / row["window_s"], rel=0.01), row["arm"]
        assert row["throughput_tok_s"] == pytest.approx(row["requests_s"] * row["osl"], abs=0.1)
        assert row["in_flight"] == pytest.approx(row["requests_s"] * row["latency_mean_s"], abs=0.2)
        assert row["joules_per_token"] == pytest.approx(row["joules"] / row["requests"] / row["osl"], rel=0.01)
        assert row["usd_per_million_tokens"] == pytest.approx(usd / 3600 / row["throughput_tok_s"] * 1e6, abs=0.001)
        assert row["latency_s"] <= row["latency_p95_s"] and row["memory_mib"] < kept["machine"]["memory_mib"]
        assert row.get("busiest_client", 0) < 0.5, "the clients were measured"


def test_the_results_are_of_the_arms_that_the_program_measures(results):
    """The command lines are those of the measurement; each arm's is in the file."""
    engine, kept = results
    tuned = engine.guide()
    named = {arm.name: arm for arm in arms.all_of(engine)}
    before = MEASURED_BEFORE[engine.name]
    for row in measured_rows(kept):
        commands = kept["arms"][row["arm"]]["commands"]
        if row["arm"] in before:
            assert "--kv-unified" not in commands[0] and "--kv-unified" in kept["arms"]["guide"]["commands"][0]
            continue
        arm = named[row["arm"]]
        ran = dataclasses.replace(arm, options=options_of(commands[0]))
        assert (row["slots"], row["precision"]) == (engine.slots(ran), engine.precisions[arm.precision])
        assert row["engine"] == engine.name and engine.about(ran).items() <= row.items()
        assert len(commands) == arm.servers
        assert kept["arms"][arm.name]["because"] == arm.because
    assert {row["arm"] for row in kept["search"]} - before == {arm.name for arm in engine.candidates(tuned)} - NOT_MEASURED[engine.name]
    known = [arm.name for arm in engine.ablation(tuned)]
    measured_arms = [row["arm"] for row in kept["ablation"] if row["arm"] not in before]
    assert measured_arms == [name for name in known if name in measured_arms]
    assert {row["arm"] for row in kept["users"]} == {kept["best"], kept["fastest"]}
    assert kept["engine"]["package"] == engine.package


def test_each_row_can_be_put_beside_an_estimate(results):
    _, kept = results
    compared = {number: one for number, one in enumerate(comparison.compare(files.ROOT / SOURCES[stack_name(kept)]))}
    for number, row in enumerate(kept["rows"]):
        assert (compared[number].name, bool(compared[number].error)) == (row["arm"], "error" in row)
        if "error" not in row:
            assert len(compared[number].pairs) == len(comparison.QUANTITIES) and compared[number].entry.slots == row["slots"]


def options_of(command):
    """Flags of a command line as it was kept: variables and the program are before them."""
    words = shlex.split(command)
    first = next(number for number, word in enumerate(words) if word.startswith("--"))
    return dict(pairs(words[first:]))


def stack_name(kept):
    return next(name for name, engine in ENGINES.items() if engine.package == kept["engine"]["package"])


def test_the_best_is_the_one_that_the_search_found(results):
    engine, kept = results
    assert [arm.name for arm in arms.found(engine, kept)] == [kept["best"], kept["fastest"]]


def test_vllm_keeps_the_guides_targets_on_one_gpu(results):
    """100 requests/s, 95 % of them within 2 s."""
    engine, kept = results
    reach = [row for row in kept["rows"] if "error" not in row and row["requests_s"] > 100 and row["latency_p95_s"] < 2]
    assert bool(reach) == (engine.name == "vllm")
    assert all(row["concurrency"] >= arms.USERS for row in reach)


@pytest.fixture
def small(tmp_path):
    """The programs and models of a run, with a small real model, and an arm of a few slots for it."""
    program = find_program("llama-server", target="test")
    assert MODEL.exists(), f"{MODEL} does not exist: `make test` installs it"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "F16.gguf").symlink_to(MODEL)
    arm = llama_cpp.UNTUNED.but(
        "small", "a test", options={"--parallel": "4", "--ctx-size": "1024", "--threads": "2", "--n-gpu-layers": "0"}
    )
    return arm, llama_cpp.LlamaCpp(programs=Path(program).parent, work=tmp_path), tmp_path / "logs"


@pytest.mark.process
def test_users_are_all_answered_by_a_real_server(small):
    def answered(servers, window_s):
        """On a busy machine a window may be too short for a streamed answer."""
        with contextlib.suppress(load.TooShort):
            seen = load.run(servers.urls, 3, 4, VOCABULARY, 1, window_s, tokens=TOKENS)
            if seen.ttft_ms is not None:
                return seen
        return answered(servers, 3 * window_s) if window_s < 100 else pytest.fail("no streamed answer within 100 s")

    with serving(*small) as servers:
        before = servers.steps()
        seen = answered(servers, 5)
        assert seen.requests >= 1 and 0 < seen.ttft_ms < seen.latency_p95_s * 1e3
        after = servers.steps()
        assert before is not None and after is not None and after - before >= TOKENS
        [process] = servers.processes
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{servers.urls[0]}/health", timeout=2)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.process
def test_a_server_that_cannot_start_says_why(small):
    arm, *places = small
    with pytest.raises(NotServing, match="--parallel"), serving(arm.but("wrong", "a test", options={"--parallel": "many"}), *places):
        pass


@pytest.mark.process
def test_a_failed_request_ends_the_run(small):
    with serving(*small) as servers, pytest.raises(RuntimeError, match="status 4"):
        load.run([f"{servers.urls[0]}/nowhere"], 2, 4, VOCABULARY, 2, 2)
