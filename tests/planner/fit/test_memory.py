"""How a GPU's memory is shared, against published measurements and by properties."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import plan
from planner.catalogue import hardware, model_shapes
from planner.catalogue.weight_bytes import WEIGHT_BYTES
from planner.fit import memory_model
from planner.fit.layers import split_layers
from tests.planner import stacks

MODELS = model_shapes.models()
GPUS = [hardware.gpu(name) for name in sorted(hardware._gpus())]
PRECISIONS = ("fp32", "fp16", "fp8", "int8", "int4")
GIB = 2**30
LLAMA_2_70B = MODELS["llama-2-70b"]


def whole(shape, precision):
    return memory_model.weights_gib(shape, 0, shape.layers - 1, precision)


def fitted(gpu, shape, **changes):
    asked = {
        "first_layer": 0,
        "last_layer": shape.layers - 1,
        "weight_precision": "fp16",
        "kv_precision": "fp16",
        "memory_fraction": 0.95,
        "workspace_gib": 0.0,
        "batch_tokens": 2048,
        "kv_asked_gib": 1000.0,
    }
    return memory_model.fit(gpu, shape, **asked | changes)


@pytest.mark.parametrize(
    ("model", "stages", "precision", "measured_gib"),
    [
        ("llama-3.1-8b", 1, "bf16", 14.99),
        ("llama-3.1-8b", 2, "bf16", 7.51),
        ("llama-3.1-8b", 4, "bf16", 4.26),
        ("llama-3.1-8b", 1, "fp8", 8.49),
        ("qwen3-8b", 1, "bf16", 15.27),
        ("qwen3-8b", 3, "bf16", 5.48),
    ],
)
def test_weights_are_those_vllm_measures(model, stages, precision, measured_gib):
    """llm-d-incubation/llm-d-planner docs/accuracy/vllm-v0.19.0-accuracy-report.md: the first stage of a pipeline."""
    shape = MODELS[model]
    assert memory_model.weights_gib(shape, 0, shape.layers // stages - 1, precision) == pytest.approx(measured_gib, rel=0.01)


@pytest.mark.parametrize(
    ("model", "last_stage", "measured_gib"),
    [
        ("llama-3.1-8b", True, 1.89),
        ("llama-3.1-8b", False, 1.05),
        ("qwen3-8b", True, 2.21),
        ("qwen3-8b", False, 0.96),
        ("llama-2-7b", True, 0.77),
        ("qwen3-30b-a3b", True, 2.68),
    ],
)
def test_activations_are_about_those_vllm_measures(model, last_stage, measured_gib):
    """The same report: H100, so 8192 tokens and 1024 sequences at once; CodeLlama-7B has Llama-2-7B's shape."""
    found = memory_model.activations_gib(MODELS[model], 8192, batch_sequences=1024, samples=last_stage)
    assert found == pytest.approx(measured_gib, rel=0.2)


def test_the_cache_has_the_room_vllm_finds():
    """The same report: Llama-3.1-8B on an H100 at .95 has 58.11 GiB for its cache, 476,016 tokens; half the bytes, twice as many."""
    asked = {"batch_tokens": 8192, "batch_sequences": 1024, "weight_precision": "bf16"}
    fit = fitted(hardware.gpu("H100-80GB-SXM"), MODELS["llama-3.1-8b"], **asked)
    assert fit.kv_room_gib == pytest.approx(58.11, rel=0.005)
    assert fit.tokens == pytest.approx(476_016, rel=0.005)
    in_fp8 = fitted(hardware.gpu("H100-80GB-SXM"), MODELS["llama-3.1-8b"], kv_precision="fp8", **asked)
    assert in_fp8.tokens == pytest.approx(952_032, rel=0.005)


def test_weights_and_cache_have_the_sizes_that_follow_from_the_shape():
    assert 8.0 < memory_model.weights_gib(LLAMA_2_70B, 10, 19, "int8") < 8.6
    assert memory_model.kv_bytes_per_token(LLAMA_2_70B, 80, "fp16") == 327_680
    assert memory_model.kv_bytes_per_token(MODELS["deepseek-v3"], 1, "fp16") == 576 * 2
    assert memory_model.kv_bytes_per_token(MODELS["llama-2-7b"], 32, "fp16") == 524_288


def test_a_plan_keeps_room_for_all_that_an_engine_reads():
    assert WEIGHT_BYTES["int8"] == (1.0625, 1.0)
    assert all(of_one.planned >= of_one.read for of_one in WEIGHT_BYTES.values())


def test_the_guides_shard_on_a_v100():
    """16 GiB of cache do not fit beside ten layers of 70B in int8; a third of it does."""
    v100 = hardware.gpu("V100")
    fits = [
        fitted(v100, LLAMA_2_70B, first_layer=s.first_layer, last_layer=s.last_layer, weight_precision="int8", kv_asked_gib=16)
        for s in split_layers(80, 8)
    ]
    assert all(5 < fit.memory.kv_gib < 6.5 and fit.short_gib == 0 for fit in fits)
    assert fits[1].concurrency(4096) == fits[1].tokens // 4096 > 30


def test_a_model_too_large_says_by_how_much():
    v100 = hardware.gpu("V100")
    fit = fitted(v100, LLAMA_2_70B, last_layer=9)
    assert fit.memory.kv_gib == fit.tokens == fit.concurrency(1) == 0
    assert 2 < fit.short_gib < 3
    assert fit.kv_room_gib == fit.memory.free_gib == pytest.approx(-fit.short_gib)
    larger = replace(v100, memory_gib=v100.memory_gib + fit.short_gib / 0.95 + 0.001)
    assert fitted(larger, LLAMA_2_70B, last_layer=9).short_gib == 0


@pytest.mark.parametrize("shape", MODELS.values(), ids=lambda shape: shape.name)
def test_stages_sum_to_the_model(shape):
    parameters_gib = shape.params_b * 1e9 * 2 / GIB
    assert whole(shape, "fp16") == pytest.approx(parameters_gib, rel=1e-9)
    second_table = shape.vocab * shape.hidden * 2 / GIB if shape.tied_embeddings else 0
    for count in (2, 7, shape.layers):
        stages = split_layers(shape.layers, count)
        total = sum(memory_model.weights_gib(shape, s.first_layer, s.last_layer, "fp16") for s in stages)
        assert total == pytest.approx(parameters_gib + second_table, rel=1e-9)


def test_the_first_layers_of_deepseek_have_no_experts():
    dense, sparse = (memory_model.weights_gib(MODELS["deepseek-v3"], layer, layer, "fp8") for layer in (1, 30))
    assert dense < 0.06 * sparse
    assert sparse * GIB == pytest.approx(11.5e9, rel=0.01)


def test_gpus_of_a_shard_share_its_weights_and_heads():
    h100 = hardware.gpu("H100-80GB-SXM")
    one, two, sixteen = (fitted(h100, LLAMA_2_70B, gpus=gpus, kv_asked_gib=40) for gpus in (1, 2, 16))
    assert one.short_gib > 0
    assert two.memory.weights_gib == pytest.approx(one.memory.weights_gib / 2)
    assert sixteen.memory.kv_gib == pytest.approx(40 / 8), "8 KV heads: 16 GPUs hold each of them twice"
    latent = fitted(h100, MODELS["deepseek-v3"], gpus=16, weight_precision="int4", kv_asked_gib=10)
    assert latent.memory.kv_gib == 10, "one latent vector for all heads: each GPU holds it"


def test_the_cuda_context_is_kept_back_even_when_all_memory_is_asked_for():
    assert fitted(hardware.gpu("A10"), MODELS["mistral-7b"], memory_fraction=1.0).memory.reserve_gib == pytest.approx(0.57)


shapes = st.sampled_from(list(MODELS.values()))
asks = st.fixed_dictionaries(
    {
        "weight_precision": st.sampled_from(PRECISIONS),
        "kv_precision": st.sampled_from(PRECISIONS),
        "memory_fraction": st.floats(0.01, 1),
        "workspace_gib": st.floats(0, 64),
        "batch_tokens": st.integers(1, 32_768),
        "batch_sequences": st.integers(1, 2048),
        "kv_asked_gib": st.floats(0, 500),
        "gpus": st.integers(1, 16),
    }
)


@st.composite
def stages(draw):
    shape = draw(shapes)
    first = draw(st.integers(0, shape.layers - 1))
    return shape, first, draw(st.integers(first, shape.layers - 1))


@given(gpu=st.sampled_from(GPUS), stage=stages(), asked=asks)
def test_the_parts_sum_to_the_gpu(gpu, stage, asked):
    shape, first, last = stage
    fit = fitted(gpu, shape, first_layer=first, last_layer=last, **asked)
    parts = fit.memory
    together = parts.weights_gib + parts.kv_gib + parts.activations_gib + parts.reserve_gib + parts.free_gib
    assert together == pytest.approx(gpu.memory_gib) == pytest.approx(parts.total_gib)
    assert 0 <= parts.kv_gib <= asked["kv_asked_gib"]
    assert min(parts.weights_gib, parts.activations_gib, parts.reserve_gib, fit.short_gib, fit.tokens) >= 0
    assert (parts.free_gib < 0) == (fit.short_gib > 0)


@given(gpu=st.sampled_from(GPUS), stage=stages(), asked=asks, more=st.floats(0, 200))
def test_more_memory_never_has_less_room(gpu, stage, asked, more):
    shape, first, last = stage
    before, after = (
        fitted(replace(gpu, memory_gib=total), shape, first_layer=first, last_layer=last, **asked)
        for total in (gpu.memory_gib, gpu.memory_gib + more)
    )
    assert after.kv_room_gib >= before.kv_room_gib
    assert after.tokens >= before.tokens
    assert after.short_gib <= before.short_gib


@given(stage=stages())
def test_fewer_bits_never_weigh_more(stage):
    shape, first, last = stage
    weights = [memory_model.weights_gib(shape, first, last, precision) for precision in ("fp32", "fp16", "int8", "fp8", "int4")]
    assert weights == sorted(weights, reverse=True)


@given(stage=stages(), precision=st.sampled_from(PRECISIONS))
def test_more_layers_never_weigh_less(stage, precision):
    shape, first, last = stage
    if last < shape.layers - 1:
        assert memory_model.weights_gib(shape, first, last + 1, precision) > memory_model.weights_gib(shape, first, last, precision)
    assert memory_model.kv_bytes_per_token(shape, last - first + 2, precision) > memory_model.kv_bytes_per_token(
        shape, last - first + 1, precision
    )


@given(gpu=st.sampled_from(GPUS), stage=stages(), asked=asks)
def test_what_was_granted_is_granted_again(gpu, stage, asked):
    shape, first, last = stage
    before = fitted(gpu, shape, first_layer=first, last_layer=last, **asked)
    copies = 1 if shape.kv == "mla" else min(asked["gpus"], shape.kv_heads)
    again = fitted(gpu, shape, first_layer=first, last_layer=last, **asked | {"kv_asked_gib": before.memory.kv_gib * copies})
    assert astuple(again.memory) == pytest.approx(astuple(before.memory), abs=1e-9)


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
def test_an_engine_that_always_caches_has_its_cache_where_a_stack_turns_it_off_verbatim(engine):
    """A cache of no bytes was rendered, with which no server starts."""
    one = {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}}
    chosen = {"engine": engine, "gpuPool": stacks.A100, "sharding": {"shardsCount": 1}, "shard": {"resources": one}}
    model = {"name": "llama-2-7b", "kvCache": {"maxCacheSize": "4Gi", "enabled": False}}
    planned = plan(stacks.verbatim(model=model, **chosen))
    assert planned.memory.memory.kv_gib == pytest.approx(4, rel=0.01)
