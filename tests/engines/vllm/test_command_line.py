"""vLLM's command lines and variables: what each pinned release knows, and which release a GPU gets."""

import re
import subprocess

import pytest

from engines.vllm.command_line import attention_backend, model_path
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA
from settings.flatten import with_values
from tests.engines import vllm_flags
from tests.engines.rendering import following
from tests.engines.vllm.conftest import A100S, H100S, V100S, VARIANTS, asked, environment, release_of, rendered


def test_each_flag_is_one_of_the_pinned_release_with_a_value_that_it_takes(variant):
    workload, plan = rendered(variant)
    shard = workload.shard
    known, _ = vllm_flags.known(release_of(shard))
    verb, model, *args = shard.args
    assert (verb, model) == ("serve", model_path(plan))
    while args:
        flag = args.pop(0)
        assert flag in known, f"{flag} is no flag of vLLM {release_of(shard)}"
        followed = bool(args) and not args[0].startswith("--")
        assert followed == known[flag].value, f"{flag} {'takes no value' if followed else 'needs a value'}"
        if followed:
            value = args.pop(0)
            assert not known[flag].choices or value in known[flag].choices, f"{flag} {value}"


def test_no_flag_is_given_twice(variant):
    flags = [argument for argument in rendered(variant)[0].shard.args if argument.startswith("--")]
    assert len(flags) == len(set(flags))


def test_a_cache_on_the_host_never_meets_the_manager_of_caches_of_several_kinds(variant):
    """Every vLLM pod with `caching.l1Cache`, the default, ended at start, on an H200 too: "OffloadingConnector does not support HMA"."""
    workload, plan = rendered(variant)
    offloads = "--kv-offloading-size" in workload.shard.args
    assert offloads == plan.settings.caching.l1_cache.enabled
    assert ("--disable-hybrid-kv-cache-manager" in workload.shard.args) == offloads


def test_each_variable_of_vllm_is_one_of_the_pinned_release(variant):
    workload, _ = rendered(variant)
    _, known = vllm_flags.known(release_of(workload.shard))
    for server in filter(None, (workload.shard, workload.worker)):
        names = [one.name for one in server.env]
        assert {name for name in names if name.startswith("VLLM_")} <= known
        assert len(names) == len(set(names)), "a name twice: the API server keeps only the last"


def test_the_lists_are_of_both_releases():
    """And tell them apart: each has flags that the other does not know."""
    (new, _), (old, variables) = vllm_flags.known(RELEASE), vllm_flags.known(RELEASE_ON_VOLTA)
    assert "--kv-cache-memory-bytes" in new and "--kv-cache-memory-bytes" not in old
    assert "--disable-log-requests" in old and "--disable-log-requests" not in new
    assert "VLLM_USE_V1" in variables
    assert min(len(new), len(old)) > 100


def test_flags_of_ray_are_known(v100s):
    """But those that vLLM's script takes for itself, which have underscores."""
    commands = " ".join(v100s[0].shard.command + v100s[0].worker.command)
    assert set(re.findall(r"--[\w-]+", commands)) <= vllm_flags.known_ray() | {
        "--ray_port",
        "--ray_cluster_size",
        "--ray_init_timeout",
        "--ray_address",
    }


@pytest.mark.process
@pytest.mark.parametrize("role", ["shard", "worker"])
def test_the_shell_takes_the_groups_commands(role, v100s):
    command = v100s[0].server(role).command
    assert command[:2] == ("bash", "-c")
    checked = subprocess.run(["bash", "-n", "-c", command[2]], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.process
def test_the_leader_becomes_the_server_with_the_containers_arguments_once_all_are_there(v100s, tmp_path):
    """The command is run, with stand-ins for vLLM's script and for vLLM."""
    shard = v100s[0].shard
    script = tmp_path / "multi-node-serving.sh"
    script.write_text('echo "script $*"')
    server = tmp_path / "vllm"
    server.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    text = shard.command[2].replace("/vllm-workspace/examples/online_serving/multi-node-serving.sh", str(script))
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LWS_GROUP_SIZE": "2"}
    ran = subprocess.run([*shard.command[:2], text, *shard.command[3:], *shard.args], env=variables, capture_output=True, text=True)
    first, *rest = ran.stdout.splitlines()
    assert first.startswith("script leader --ray_cluster_size=2 --ray_port=6379 ")
    assert tuple(rest) == shard.args
    script.write_text("exit 1")
    ran = subprocess.run([*shard.command[:2], text, *shard.command[3:], *shard.args], env=variables, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, ""), "a group that is not whole must not serve"


@pytest.mark.parametrize(
    ("size", "release"), [(V100S, RELEASE_ON_VOLTA), (A100S, RELEASE), (H100S, RELEASE), ("Standard_ND128isr_NDR_GB200_v6", RELEASE)]
)
def test_a_v100_gets_the_last_release_that_has_code_for_it(size, release):
    workload, _ = rendered(asked(size))
    assert workload.shard.image == f"docker.io/vllm/vllm-openai:v{release}"


def test_on_a_v100_nothing_runs_that_crashes_there(v100s):
    shard = v100s[0].shard
    assert environment(shard)["VLLM_ATTENTION_BACKEND"] == "XFORMERS" and environment(shard)["VLLM_USE_V1"] == "0"
    assert "--no-enable-prefix-caching" in shard.args and "--no-enable-chunked-prefill" in shard.args
    assert following(shard, "--quantization") == "gptq" and following(shard, "--dtype") == "half"
    # Without chunked prefill a batch must hold the longest prompt.
    assert int(following(shard, "--max-num-batched-tokens")) >= int(following(shard, "--max-model-len"))


@pytest.mark.parametrize(
    ("size", "compression", "flash", "backend"),
    [
        # vLLM takes FlashAttention's where they read the cache, FlashInfer's where not: test_judged.py has what it takes.
        (A100S, False, True, None),
        (A100S, True, True, None),
        (H100S, True, True, None),
        (H100S, False, False, "TRITON_ATTN"),
        (H100S, True, False, "FLASHINFER"),
    ],
)
def test_the_attention_kernels_read_the_cache_as_it_is_kept(size, compression, flash, backend):
    changed = {("model", "kvCache", "compression"): compression, ("model", "attention", "flashAttention"): flash}
    workload, plan = rendered(asked(size, changed))
    assert attention_backend(plan.settings, plan) == backend
    assert ("--attention-backend" in workload.shard.args) == (backend is not None)
    assert backend is None or following(workload.shard, "--attention-backend") == backend
    assert following(workload.shard, "--kv-cache-dtype") == ("fp8" if compression else "auto")


SHAPE = {
    "paramsB": 20.9,
    "layers": 24,
    "hidden": 2880,
    "heads": 64,
    "kvHeads": 8,
    "headDim": 64,
    "intermediate": 2880,
    "vocab": 201088,
    "context": 131072,
}
"""gpt-oss-20b's, whose attention has sinks."""


@pytest.mark.parametrize("flash", [True, False])
def test_models_that_need_other_kernels_are_not_forced_to_any(flash):
    """A latent cache, or what a shape does not tell: gpt-oss on an A100 ended with "sink setting not supported", others with "MLA not
    supported"."""
    latent = with_values(VARIANTS["one latent vector for all heads"](), {("model", "attention", "flashAttention"): flash})
    of_shape = {("model", "name"): "ours", ("model", "shape"): SHAPE, ("model", "attention", "flashAttention"): flash}
    for settings in (latent, asked(A100S, of_shape | {("sharding", "layersPerShard"): None})):
        workload, _ = rendered(settings)
        assert "--attention-backend" not in workload.shard.args


def test_fp8_of_models_with_a_latent_cache_is_the_format_that_they_are_published_in():
    """llm-compressor's ends at start: vllm#36247."""
    workload, plan = rendered(VARIANTS["one latent vector for all heads"]())
    assert plan.settings.model.quantization.precision == "fp8"
    assert following(workload.shard, "--quantization") == "fp8"


def test_no_client_can_put_itself_before_others(variant):
    """With `--scheduling-policy priority` vLLM takes the number that a request carries, and interrupts the answers of others for it."""
    workload, _ = rendered(variant)
    assert "--scheduling-policy" not in workload.shard.args


def test_a_request_stays_in_the_part_of_the_cache_that_its_stage_has():
    """vLLM 0.8.5 divides the blocks among the stages: "max seq len (...) is larger than the maximum number of tokens"."""
    small = {("model", "kvCache", "maxCacheSize"): "256Mi"}
    shard = rendered(asked(V100S, small))[0].shard
    stages = int(following(shard, "--pipeline-parallel-size"))
    assert stages > 1
    longest, blocks = int(following(shard, "--max-model-len")), int(following(shard, "--num-gpu-blocks-override"))
    assert 16 <= longest <= 16 * (blocks // stages) < 4096


@pytest.mark.parametrize(
    ("precision", "compression", "flags"),
    [
        ("fp16", False, ["--dtype", "half"]),
        ("bf16", False, ["--dtype", "bfloat16"]),
        ("fp8", False, ["--dtype", "auto", "--quantization", "compressed-tensors"]),
        ("int8", False, ["--dtype", "auto", "--quantization", "compressed-tensors"]),
        # FlashAttention 3 answers in bfloat16 when it reads an 8-bit cache.
        ("fp16", True, ["--dtype", "bfloat16"]),
        ("int8", True, ["--dtype", "bfloat16", "--quantization", "compressed-tensors"]),
    ],
)
def test_a_checkpoint_of_another_precision_is_an_error_at_start(precision, compression, flags):
    changed = {("model", "quantization", "precision"): precision, ("model", "kvCache", "compression"): compression}
    args = list(rendered(asked(H100S, changed))[0].shard.args)
    there = args.index("--dtype")
    assert args[there : there + len(flags)] == flags
    assert ("--quantization" in args) == ("--quantization" in flags)
