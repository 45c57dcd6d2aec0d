"""vLLM's command lines and variables: what each pinned release knows, and which release a GPU gets."""

import re
import subprocess

import pytest

from engines.vllm import attention_backend, model_path
from planner.engine_traits.vllm import RELEASE, RELEASE_ON_VOLTA
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


@pytest.mark.parametrize("role", ["shard", "worker"])
def test_the_shell_takes_the_groups_commands(role, v100s):
    command = v100s[0].server(role).command
    assert command[:2] == ("bash", "-c")
    checked = subprocess.run(["bash", "-n", "-c", command[2]], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


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
        (A100S, False, True, "FLASH_ATTN"),
        # FlashAttention 2 reads no 8-bit cache; Hopper's third version does.
        (A100S, True, True, "FLASHINFER"),
        (H100S, True, True, "FLASH_ATTN"),
        (H100S, False, False, "TRITON_ATTN"),
        (H100S, True, False, "FLASHINFER"),
    ],
)
def test_the_attention_kernels_read_the_cache_as_it_is_kept(size, compression, flash, backend):
    changed = {("model", "kvCache", "compression"): compression, ("model", "attention", "flashAttention"): flash}
    workload, plan = rendered(asked(size, changed))
    assert following(workload.shard, "--attention-backend") == attention_backend(plan.settings, plan) == backend
    assert following(workload.shard, "--kv-cache-dtype") == ("fp8" if compression else "auto")


def test_models_with_a_latent_cache_choose_their_kernels():
    workload, _ = rendered(VARIANTS["one latent vector for all heads"]())
    assert "--attention-backend" not in workload.shard.args


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
