"""vLLM's pods: one server, or a Ray group of them."""

import pytest

from engines.envoy import coordinator
from engines.envoy.pipeline_server import HTTP
from engines.vllm import ray_group
from planner.engine_facts.vllm import RELEASE_ON_VOLTA
from planner.fit.memory_model import kv_bytes_per_token
from tests.engines.rendering import following
from tests.engines.vllm.conftest import A100S, V100S, asked, environment, release_of, rendered


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
    # In whole blocks of 16 tokens, or vLLM ends at start: by its count a request takes the last one whole (test_judged.py).
    held = plan.memory.tokens // (len(plan.shards) if release_of(workload.shard) == RELEASE_ON_VOLTA else 1)
    assert longest == min(plan.shape.context, held // 16 * 16)


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
    assert rendered(asked(V100S))[0].coordinator.image == coordinator.IMAGE
