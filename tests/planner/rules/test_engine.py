"""What an engine cannot do, and how it is laid out: whole pipelines in a pod, GPUs that share each layer."""

import json

import pytest

from planner import plan
from planner.catalogue import hardware
from planner.fit import memory_model, stack_memory
from settings import SettingsError, StackSettings
from settings.flatten import document
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import A100, llama_cpp, resources, settings, shard, vllm

OURS = {"name": "ours"}
SHAPE = {
    "paramsB": 8.03,
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "kvHeads": 8,
    "headDim": 128,
    "intermediate": 14336,
    "vocab": 128256,
    "context": 8192,
}
CASES = [
    (
        "ENGINE-011",
        vllm(engineArguments={"--trust-remote-code": True}),
        "engineArguments.--trust-remote-code",
        "true -> true",
        "own Python code runs",
        {"engineArguments": {}},
    ),
    (
        "ENGINE-001",
        llama_cpp(),
        "caching.l3Cache.enabled",
        "true -> false",
        "nor llama-server speaks to Redis",
        {"caching": {"l3Cache": {"enabled": False}}},
    ),
    (
        "ENGINE-002",
        llama_cpp(),
        "sharding.shardsCount",
        "8 -> 1",
        "8 shards of 1 GPU become one of 2 GPUs",
        {"sharding": {"shardsCount": 1}},
    ),
    (
        "ENGINE-003",
        llama_cpp(model={"quantization": {"precision": "fp8"}}),
        "model.quantization.precision",
        "fp8 -> int8",
        "does not support weights in fp8",
        {"model": {"quantization": {"precision": "int4"}}},
    ),
    (
        "ENGINE-003",
        vllm("Standard_ND96isr_H200_v5", model={"name": "deepseek-v3"}),
        "model.quantization.precision",
        "int8 -> fp8",
        "only in the format in which it was published",
        {"model": {"name": "deepseek-v3", "quantization": {"precision": "fp8"}}},
    ),
    (
        "ENGINE-008",
        vllm(model=OURS | {"shape": SHAPE | {"attention": "hybrid"}}),
        "caching.l1Cache.enabled",
        "true -> false",
        "would crash at start",
        {"model": OURS | {"shape": SHAPE}},
    ),
    (
        "ENGINE-008",
        vllm(model=OURS | {"shape": SHAPE | {"attention": "windowed"}}),
        "caching.l1Cache.enabled",
        "true -> true",
        "keeps the whole text",
        {"caching": {"l1Cache": {"enabled": False}}},
    ),
    (
        "ENGINE-004",
        llama_cpp(model={"attention": {"flashAttention": False}}),
        "model.attention.flashAttention",
        "false -> true",
        "in 8 bits",
        {"model": {"attention": {"flashAttention": False}, "kvCache": {"compression": False}}},
    ),
    (
        "ENGINE-005",
        llama_cpp(coordinator={"config": {"dynamicBatching": {"maxBatchSize": 300}}, "limits": {"requestTokens": 256}}),
        "coordinator.config.dynamicBatching.maxBatchSize",
        "300 -> 256",
        "at most 256 requests at once",
        {"coordinator": {"config": {"dynamicBatching": {"maxBatchSize": 256}}}},
    ),
    (
        "ENGINE-006",
        vllm(),
        "sharding.shardsCount",
        "8 -> 1",
        "8 shards of 1 GPU become 1 shard of 2 GPUs, on which the model fits",
        {"shard": resources("5", "109Gi", gpus=2), "sharding": {"shardsCount": 1}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def test_a_pipeline_that_no_node_holds_is_refused_with_what_would_help():
    with pytest.raises(SettingsError) as refused:
        plan(settings(engine="llama_cpp"))
    [problem] = refused.value.problems
    assert "GiB too few" in problem.consequence
    assert problem.fix == "model.quantization.precision: int4"
    with pytest.raises(SettingsError) as refused:
        plan(llama_cpp(sharding={"shardsCount": 1}, model={"quantization": {"precision": "fp16"}}))
    assert refused.value.problems[0].fix == "shard.resources.limits.nvidia.com/gpu: 2 or model.quantization.precision: int8"


def test_verbatim_cannot_cut_a_process_into_shards():
    with pytest.raises(SettingsError, match="only the first would answer requests"):
        plan(llama_cpp(sizing={"mode": "verbatim"}))


def test_layers_split_over_gpus_take_turns_and_share_the_cache():
    """Each GPU holds some layers: its part of the weights and of the cache, and no all-reduce; a token waits for one after another."""
    made = plan(llama_cpp(model={"kvCache": {"maxCacheSize": "8Gi"}}))
    assert (made.pod.gpus, len(made.shards), made.nodes) == (2, 1, 1)
    assert made.memory.memory.kv_gib == pytest.approx(4)
    gpu = hardware.gpu("A100-80GB-PCIe")
    half = stack_memory.tightest(settings(shard=shard(gpuMemoryFraction=0.9), sharding={"shardsCount": 2}), gpu, made.shape)
    assert made.memory.memory.weights_gib == pytest.approx(half.memory.weights_gib)
    assert made.memory.memory.reserve_gib == pytest.approx(half.memory.reserve_gib)
    [floor] = [finding for finding in made.findings if finding.code == "TARGET-001"]
    assert "(1 A100-80GB-PCIe at a time)" in floor.because


def test_no_redis_is_bought_for_an_engine_that_does_not_ask_it():
    assert plan(settings()).redis_sku and not plan(llama_cpp()).redis_sku


def layout_of(made):
    return len(made.shards), made.pod.gpus, made.nodes


def test_gpus_are_not_paid_for_to_stand_idle():
    """Fifteen GPUs are on two nodes of eight, but three pods of five are not; three of four are, and hold the model."""
    made = plan(llama_cpp(gpuPool={"vmSize": "Standard_ND96amsr_A100_v4", "zones": []}, sharding={"shardsCount": 5, "pipelines": 3}))
    assert layout_of(made) == (1, 4, 2)
    [because] = {finding.because for finding in made.findings if finding.code == "ENGINE-002"}
    assert because.endswith("become one of 4 GPUs, as 5 GPUs each would take 3 nodes instead of 2")
    one_each = plan(llama_cpp(gpuPool={"vmSize": "Standard_ND96amsr_A100_v4"}, sharding={"shardsCount": 5, "pipelines": 3}))
    assert layout_of(one_each) == (1, 5, 3), "each pipeline has a zone of its own, and a node in it, whatever its GPUs"


FEW_HEADS = {"name": "qwen2-7b"}
PAIRS = {"vmSize": "Standard_NC48ads_A100_v4", "zones": []}


@pytest.mark.parametrize(
    ("asked", "shards", "gpus", "nodes"),
    [
        # 70B in INT8 fits two A100 and no four V100: a pod, and a group of two whole nodes.
        (vllm(), 1, 2, 1),
        (vllm("Standard_NC24s_v3"), 2, 4, 2),
        (vllm("Standard_ND96isr_H100_v5"), 1, 8, 1),
        # Whole nodes as they are asked for stay what they are.
        (vllm(shard=resources("5", "109Gi", gpus=2), sharding={"shardsCount": 2}), 2, 2, 2),
        # 28 heads, four of them with keys and values: of eight GPUs four.
        (vllm("Standard_ND96isr_H100_v5", model=FEW_HEADS, sharding={"shardsCount": 1}, shard=resources("5", "9Gi", gpus=8)), 1, 4, 1),
        (vllm("Standard_NC96ads_A100_v4", sharding={"shardsCount": 1}, shard=resources("5", "109Gi", gpus=3)), 1, 2, 1),
        # Ten pods of one GPU are three nodes of four; not four where each is to have as many layers, as two do.
        (vllm("Standard_NC24s_v3", sharding={"shardsCount": 10}), 3, 4, 3),
        (vllm("Standard_NC24s_v3", sharding={"shardsCount": 10, "layersPerShard": 8}), 2, 4, 2),
        # Fifteen GPUs are eight nodes of two, as five pods of one or two of two for each pipeline; three of two would be nine.
        (settings(engine="vllm", gpuPool=PAIRS, model={"name": "falcon-180b"}, sharding={"shardsCount": 5, "pipelines": 3}), 2, 2, 6),
        (settings(engine="vllm", gpuPool=A100 | {"mig": "MIG3g"}, model={"name": "llama-2-7b"}, sharding={"shardsCount": 2}), 1, 1, 1),
    ],
)
def test_the_gpus_of_a_pod_share_each_layer(asked, shards, gpus, nodes):
    made = plan(asked)
    assert layout_of(made) == (shards, gpus, nodes)
    strict = made.settings.model_copy(update={"sizing": asked.sizing.model_copy(update={"mode": "strict"})})
    assert layout_of(plan(strict)) == (shards, gpus, nodes), "what was made is what would be made of it"


@pytest.mark.parametrize(("gpus", "instead"), [(3, 2), (6, 4)])
def test_a_pod_whose_gpus_cannot_share_the_heads_is_refused_verbatim(gpus, instead):
    asked = vllm(
        "Standard_ND96isr_H100_v5", shard=resources("5", "109Gi", gpus=gpus), sharding={"shardsCount": 1}, sizing={"mode": "verbatim"}
    )
    with pytest.raises(SettingsError) as refused:
        plan(asked)
    [problem] = refused.value.problems
    assert (problem.key, problem.fix.partition(",")[0]) == ("shard.resources.limits.nvidia.com/gpu", str(instead))


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        (vllm(model={"quantization": {"precision": "fp16"}}, sharding={"shardsCount": 1}), "shard.resources.limits.nvidia.com/gpu: 2"),
        (
            vllm("Standard_NC24s_v3", sharding={"shardsCount": 4}),
            "sharding.shardsCount: 2 with shard.resources.limits.nvidia.com/gpu: 4",
        ),
    ],
)
def test_what_a_refusal_of_vllm_says_is_tried(asked, fix):
    with pytest.raises(SettingsError) as refused:
        plan(asked)
    assert refused.value.problems[0].fix.startswith(f"{fix} or ")
    gpus = int(fix[-1])
    shards = 2 if "shardsCount" in fix else 1
    mended = document(asked) | {"shard": resources("5", "109Gi", gpus=gpus), "sharding": {"shardsCount": shards}}
    assert layout_of(plan(StackSettings.model_validate_json(json.dumps(mended))))[:2] == (shards, gpus)


def test_the_gpus_of_each_stage_share_its_weights_and_cache():
    made = plan(vllm("Standard_NC24s_v3", model={"kvCache": {"maxCacheSize": "8Gi"}}))
    first, last = (memory_model.weights_gib(made.shape, stage.first_layer, stage.last_layer, "int8") / 4 for stage in made.shards)
    assert made.memory.memory.weights_gib == pytest.approx(max(first, last))
    assert made.memory.memory.kv_gib == pytest.approx(8 / 4)
    # A token is in the cache of both stages, half of its layers in each.
    assert made.memory.tokens == int(8 * 2**30 / memory_model.kv_bytes_per_token(made.shape, 40, "int8"))
    assert made.memory.memory.reserve_gib > memory_model.TENSOR_PARALLEL_OVERHEAD_GIB


def test_a_v100_reads_prompts_whole_and_others_in_parts():
    """vLLM's older release computes the longest prompt at once, so its buffers are planned for that."""
    old, new = (plan(vllm(size, sharding={"shardsCount": 8})) for size in ("Standard_NC24s_v3", "Standard_NC96ads_A100_v4"))
    assert stack_memory.batch_tokens(old.settings, old.gpu, old.shape) == old.shape.context == 4096
    assert stack_memory.batch_tokens(new.settings, new.gpu, new.shape) == 2048


@pytest.mark.parametrize(
    ("size", "sections", "words"),
    [
        ("Standard_ND96isr_H200_v5", {"model": {"name": "kimi-k2"}}, "crashes at start with it: its checkpoint brings"),
        ("Standard_ND96amsr_A100_v4", {"model": {"name": "deepseek-v3"}}, "crashes at start with deepseek-v3 in int8"),
        ("Standard_NC24s_v3", {"model": {"name": "qwen3-30b-a3b"}}, "crashes at start with qwen3-30b-a3b in int8"),
    ],
)
def test_a_model_that_the_engine_ends_with_is_refused(size, sections, words):
    with pytest.raises(SettingsError, match=words):
        plan(vllm(size, **sections))


@pytest.mark.parametrize(("name", "gpus"), [("llama-2-7b", 2), ("llama-3-8b", 4)])
def test_gpus_share_whole_groups_of_weights(name, gpus):
    """vLLM: "The input size is not aligned with the quantized weight shape", of GPTQ in groups of 128."""
    planned = plan(vllm("Standard_NC24s_v3", model={"name": name, "kvCache": {"maxCacheSize": "1Gi"}}))
    assert planned.pod.gpus == gpus
