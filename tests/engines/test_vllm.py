"""vLLM behind Envoy: command lines that each pinned release knows, pods that are one server or a Ray group, a word on each setting."""

import re
import shutil
import subprocess

import pytest

from engines import ENGINES, proxied, ray_group
from engines.upstream import HTTP
from engines.vllm import attention_backend, model_path
from infra.endpoints import endpoints
from planner import plan as make_plan
from planner.engine_traits.vllm import RELEASE, RELEASE_ON_VOLTA
from planner.memory import kv_bytes_per_token
from settings import files
from settings.leaves import with_values
from tests.engines import vllm_flags
from tests.engines.rendering import assert_each_setting_is_told_of, assert_envoy_takes, following

SIZE = ("gpuPool", "vmSize")
A100S, H100S, V100S, T4 = "Standard_NC48ads_A100_v4", "Standard_ND96isr_H100_v5", "Standard_NC24s_v3", "Standard_NC4as_T4_v3"


def asked(size, values=None):
    """prod with this engine; it has `sizing.mode: fitted`."""
    prod = files.from_file(files.stack_file_path("prod"), "prod").settings
    return with_values(prod, {("engine",): "vllm", SIZE: size} | (values or {}))


def rendered(settings):
    plan = make_plan(settings)
    names = endpoints(plan, registry="registry.example", redis=None)
    return ENGINES["vllm"].render(plan.settings, plan, names), plan


LARGE = {("model", "name"): "llama-3.1-405b", ("model", "quantization", "precision"): "fp16", ("sharding", "layersPerShard"): None}
SMALL = {("model", "name"): "llama-2-7b", ("sharding", "layersPerShard"): None, ("model", "kvCache", "maxCacheSize"): "2Gi"}
BATCHING = ("coordinator", "config", "dynamicBatching")
VARIANTS = {
    "two A100": lambda: asked(A100S),
    "eight H100": lambda: asked(H100S),
    "two nodes of V100": lambda: asked(V100S),
    "two nodes of H100, FP16": lambda: asked(H100S, LARGE | {("sharding", "shardsCount"): 16}),
    "eight stages, verbatim": lambda: asked(A100S, {("sizing", "mode"): "verbatim", ("model", "kvCache", "maxCacheSize"): "4Gi"}),
    "one T4": lambda: asked(T4, SMALL),
    "one request at a time, in order": lambda: asked(A100S, {(*BATCHING, "enabled"): False, (*BATCHING, "priorityBatching"): False}),
    "nothing compressed, nothing kept": lambda: asked(
        A100S, {("model", "kvCache", "compression"): False, ("caching", "l1Cache", "enabled"): False}
    ),
    "no flash attention, read instead of mapped": lambda: asked(
        H100S, {("model", "attention", "flashAttention"): False, ("shard", "config", "memoryMapping"): False}
    ),
    "in BF16, without graphs": lambda: asked(
        H100S, {("model", "quantization", "precision"): "bf16", ("shard", "env", "CUDA_ENABLE_GRAPHS"): "false"}
    ),
    "not quantised": lambda: asked(H100S, {("model", "quantization", "enabled"): False}),
    "one latent vector for all heads": lambda: asked(
        H100S, {("model", "name"): "deepseek-v3", ("model", "quantization", "precision"): "int4", ("sharding", "layersPerShard"): None}
    ),
}


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request):
    return VARIANTS[request.param]()


@pytest.fixture(scope="module")
def a100s():
    return rendered(asked(A100S))


@pytest.fixture(scope="module")
def v100s():
    return rendered(asked(V100S))


def environment(server):
    return {one.name: one.value for one in server.env}


def release_of(server):
    return server.image.removeprefix("docker.io/vllm/vllm-openai:v")


# Command lines


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


# Releases by GPU


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
    ("precision", "flags"),
    [
        ("fp16", ["--dtype", "half"]),
        ("bf16", ["--dtype", "bfloat16"]),
        ("fp8", ["--dtype", "auto", "--quantization", "compressed-tensors"]),
        ("int8", ["--dtype", "auto", "--quantization", "compressed-tensors"]),
    ],
)
def test_a_checkpoint_of_another_precision_is_an_error_at_start(precision, flags):
    args = list(rendered(asked(H100S, {("model", "quantization", "precision"): precision}))[0].shard.args)
    there = args.index("--dtype")
    assert args[there : there + len(flags)] == flags
    assert ("--quantization" in args) == ("--quantization" in flags)


# Pods


def test_a_pipeline_on_one_node_is_one_pod_that_talks_to_nobody(a100s):
    workload, _ = a100s
    assert workload.worker is None and not workload.shards_talk
    assert workload.shard.command == ("vllm",)
    assert following(workload.shard, "--tensor-parallel-size") == workload.shard.limits["nvidia.com/gpu"] == "2"
    assert following(workload.shard, "--pipeline-parallel-size") == "1"
    assert following(workload.shard, "--distributed-executor-backend") == "mp"
    assert "VLLM_PP_LAYER_PARTITION" not in environment(workload.shard)


def test_a_pipeline_over_nodes_is_a_ray_group_with_the_plans_layers(v100s):
    workload, _ = v100s
    leader, worker = workload.shard, workload.worker
    assert following(leader, "--tensor-parallel-size") == "4" and following(leader, "--pipeline-parallel-size") == "2"
    assert following(leader, "--distributed-executor-backend") == "ray"
    for server in (leader, worker):
        assert environment(server)["VLLM_PP_LAYER_PARTITION"] == "40,40"
        assert server.limits["nvidia.com/gpu"] == "4" and server.weights_dir == "/data"
        [address] = [one for one in server.env if one.name == "VLLM_HOST_IP"]
        assert address.field_path == "status.podIP"
        assert "--num-gpus=4" in server.command[2]
    assert workload.shards_talk and workload.shards_choose_ports


@pytest.mark.parametrize(("shards", "counts"), [(3, "27,27,26"), (8, "10,10,10,10,10,10,10,10"), (7, "12,12,12,11,11,11,11")])
def test_layers_that_do_not_divide_go_where_the_plan_has_them(shards, counts):
    verbatim = {("sizing", "mode"): "verbatim", ("sharding", "shardsCount"): shards, ("sharding", "layersPerShard"): None}
    workload, plan = rendered(asked(A100S, verbatim | {("model", "kvCache", "maxCacheSize"): "4Gi"}))
    assert environment(workload.shard)["VLLM_PP_LAYER_PARTITION"] == counts
    assert [f"{shard.last_layer - shard.first_layer + 1}" for shard in plan.shards] == counts.split(",")


def test_a_worker_is_ready_once_it_has_joined_and_a_leader_once_it_answers(v100s):
    workload, _ = v100s
    for probe in (workload.worker.startup, workload.worker.readiness, workload.worker.liveness):
        assert (probe.port, probe.path) == (ray_group.RAYLET.name, None)
    assert f"--node-manager-port={ray_group.RAYLET.number}" in workload.worker.command[2]
    assert (workload.shard.readiness.port, workload.shard.readiness.path) == ("http", "/health")
    # What the leader listens on for the coordinator and Prometheus, and no port of Ray's.
    assert workload.shard.ports == (HTTP,) and workload.worker.ports == (ray_group.RAYLET,)


def test_everyone_waits_as_long_as_a_model_may_take_to_load():
    workload, _ = rendered(asked(V100S, {("rollout", "modelLoadTimeout"): "45m"}))
    for server in (workload.shard, workload.worker):
        assert "--ray_init_timeout=2700 " in server.command[2]
        assert server.startup.period_seconds * server.startup.failure_threshold >= 2700
    alone, _ = rendered(asked(A100S, {("rollout", "modelLoadTimeout"): "45m"}))
    assert environment(alone.shard)["VLLM_ENGINE_READY_TIMEOUT_S"] == "2700"


def test_the_cache_is_as_large_as_the_plan_has_counted(a100s, v100s):
    workload, plan = a100s
    assert int(following(workload.shard, "--kv-cache-memory-bytes")) == int(plan.memory.memory.kv_gib * 2**30)
    workload, plan = v100s
    blocks = int(following(workload.shard, "--num-gpu-blocks-override"))
    assert plan.memory.tokens - 16 < 16 * blocks <= plan.memory.tokens
    stage_gib = 16 * blocks * kv_bytes_per_token(plan.shape, 40, "int8") / 2**30
    assert stage_gib <= plan.settings.model.kv_cache.max_cache_size.gib


def test_a_request_is_never_longer_than_the_cache(variant):
    workload, plan = rendered(variant)
    longest = int(following(workload.shard, "--max-model-len"))
    assert longest == min(plan.shape.context, plan.memory.tokens)


def test_what_the_container_writes_is_writable_and_nothing_is_sent_out(variant):
    """The root file system is read-only, and the user has no name in the image: PyTorch asks for it."""
    workload, _ = rendered(variant)
    for server in filter(None, (workload.shard, workload.worker)):
        variables = environment(server)
        assert variables["HOME"] == "/tmp" and variables["USER"] and variables["CUDA_CACHE_PATH"].startswith("/tmp/")
        assert variables["VLLM_NO_USAGE_STATS"] == variables["HF_HUB_OFFLINE"] == "1"
        assert server.shared_memory
        if workload.worker:
            assert variables["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(("value", "eager"), [("false", True), ("0", True), ("true", False)])
def test_cuda_graphs_are_off_only_when_they_are_switched_off(value, eager):
    args = rendered(asked(A100S, {("shard", "env", "CUDA_ENABLE_GRAPHS"): value}))[0].shard.args
    assert ("--enforce-eager" in args) == eager


def test_threads_are_shared_out_among_the_gpus_processes(a100s):
    workload, plan = a100s
    assert environment(workload.shard)["OMP_NUM_THREADS"] == str(plan.settings.shard.config.worker_threads // 2)
    asked_for = rendered(asked(A100S, {("shard", "env", "GC_THREADS"): "1"}))[0]
    assert environment(asked_for.shard)["GC_THREADS"] == "1"


def test_images_may_be_named():
    named = asked(V100S, {("images", "shard"): "ours/vllm:1.0", ("images", "coordinator"): "docker.io/ours/envoy:1.0"})
    workload, _ = rendered(named)
    assert workload.shard.image == workload.worker.image == "registry.example/ours/vllm:1.0"
    assert workload.coordinator.image == "docker.io/ours/envoy:1.0"
    assert rendered(asked(V100S))[0].coordinator.image == proxied.IMAGE


# Each setting


def test_each_setting_is_told_of(variant):
    assert_each_setting_is_told_of(*rendered(variant))


def test_what_every_pod_of_a_group_has_is_told_of_the_workers_too(v100s):
    def told(role):
        shared = ("image", "requests", "limits", "env", "startup")
        return {(said.key, said.field) for said in v100s[0].told if said.role == role and said.field and said.field[0] in shared}

    # Said once, as they are not the setting's own value.
    once = {
        ("shard.config.threadPinning", ("limits", "cpu")),
        ("shard.config.workerThreads", ("env", "OMP_NUM_THREADS", "value")),
        ("model.attention.flashAttention", ("env", "VLLM_ATTENTION_BACKEND", "value")),
        ("model.attention.fusedAttention", ("env", "VLLM_ATTENTION_BACKEND", "value")),
    }
    assert told("worker") == told("shard") - once


def test_sources_name_the_release_that_runs(variant):
    workload, _ = rendered(variant)
    other = {RELEASE: RELEASE_ON_VOLTA, RELEASE_ON_VOLTA: RELEASE}[release_of(workload.shard)]
    assert not [said for said in workload.told if f"v{other}" in said.source]


CHANGES = {
    ("shard", "config", "gpuMemoryFraction"): (0.8, "in force", "0.8"),
    ("model", "kvCache", "compression"): (False, "in force", "auto"),
    (*BATCHING, "maxBatchSize"): (64, "in force", "64"),
    (*BATCHING, "priorityBatching"): (False, "in force", "fcfs"),
    ("model", "kvCache", "maxCacheSize"): ("8Gi", "translated", str(4 * 2**30)),
    ("shard", "config", "memoryMapping"): (False, "in force", "eager"),
    ("caching", "l1Cache", "size"): ("20Gi", "in force", "20"),
    ("shard", "config", "workerThreads"): (12, "translated", "6"),
    ("model", "name"): ("llama-3-70b", "in force", "llama-3-70b"),
    ("rollout", "modelLoadTimeout"): ("10m", "in force", "600"),
}


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=[".".join(path) for path in CHANGES])
def test_the_guides_keys_are_flags_and_variables(path, change, a100s):
    value, outcome, holds = change
    key = ".".join(path)

    def said(workload):
        return [one for one in workload.told if one.key == key and one.field[:1] in (("args",), ("env",))][-1]

    before, after = said(a100s[0]), said(rendered(asked(A100S, {path: value}))[0])
    assert (after.outcome, after.holds, after.role) == (outcome, holds, "shard")
    assert after.holds != before.holds


def test_the_coordinator_finds_leaders_and_no_workers(v100s):
    """By the name that only leaders have, on a port that only they serve."""
    workload, _ = v100s
    [file] = [file for file in workload.coordinator.config_files if file.name == proxied.CONFIG_FILE]
    assert "zig-ai-shard-leaders.zig-ai.svc.cluster.local" in file.content
    assert workload.leaders_port in workload.shard.ports and workload.leaders_port not in workload.worker.ports


def test_a_group_serves_on_until_its_last_answers_are_sent(v100s):
    """A leader without its workers answers nothing, so they end no sooner than it does."""
    workload, _ = v100s
    assert workload.shard.pre_stop_seconds == workload.worker.pre_stop_seconds > 0


@pytest.mark.skipif(not shutil.which("envoy"), reason="needs envoy")
def test_envoy_takes_the_rendered_file(variant, tmp_path):
    assert_envoy_takes(rendered(variant)[0], tmp_path)


def test_rendering_is_the_same_every_time():
    """Anything else would roll all pods at every deployment."""
    assert rendered(asked(V100S))[0] == rendered(asked(V100S))[0]
