"""What files take, against what was published of them."""

import pytest

from planner import plan
from planner.catalogue import model_shapes
from planner.fit import checkpoints
from tests.planner.stacks import llama_cpp, settings, vllm

MODELS = model_shapes.models()
GIB = 2**30


@pytest.mark.parametrize(
    ("model", "precision", "published_gib"),
    [
        # What vLLM loads is the whole of the file: its logs of neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8-dynamic (8.4939), of
        # -quantized.w8a8 (8.4927), and of a GPTQ checkpoint of 4 bits in groups of 128 (5.3473).
        ("llama-3.1-8b", "fp8", 8.4939),
        ("llama-3.1-8b", "int8", 8.4927),
        ("llama-3.1-8b", "int4", 5.3473),
        # Bytes of the weight files of huggingface.co/deepseek-ai/DeepSeek-V3@afb92e1f and of moonshotai/Kimi-K2-Instruct.
        ("deepseek-v3", "fp8", 688_586_727_753 / GIB),
        ("kimi-k2", "fp8", 1_029_173_256_720 / GIB),
    ],
)
def test_quantized_safetensors_are_as_large_as_published_ones(model, precision, published_gib):
    assert checkpoints.quantized_gib(MODELS[model], precision) == pytest.approx(published_gib, rel=0.01)


@pytest.mark.parametrize("model, published_gb", [(model, shape.published_gb) for model, shape in MODELS.items() if shape.published_gb])
def test_a_published_size_agrees_with_the_shape(model, published_gb):
    """But for DeepSeek's layer of multi-token prediction, 14 of 685 billion parameters."""
    shape = MODELS[model]
    assert 1.0 <= published_gb / (shape.params_b + 2 * shape.vocab * shape.hidden / 1e9) < 1.03


@pytest.mark.parametrize(
    ("model", "precision", "published_gib"),
    [
        ("llama-3.1-8b", "fp16", 14.96),
        ("llama-3.1-8b", "int8", 7.95),
        ("llama-3.1-8b", "int4", 4.58),
        ("llama-3.1-70b", "int4", 43.1e9 / GIB),
        ("llama-3.1-405b", "int4", 249.1e9 / GIB),
    ],
)
def test_a_gguf_file_is_as_large_as_llama_cpp_states(model, precision, published_gib):
    """ggml-org/llama.cpp tools/quantize/README.md@311c2c9f: F16, Q8_0 and Q4_K_M."""
    assert checkpoints.gguf_gib(MODELS[model], precision) == pytest.approx(published_gib, rel=0.01)


@pytest.mark.parametrize(
    ("stack", "gib"),
    [
        # Of a model of 16 bits, what its makers published; an image of the user's own makes it smaller as it loads it.
        (settings(), 128.5),
        (vllm(), 64.7),
        (vllm(model={"quantization": {"precision": "int4"}}), 33.85),
        (vllm("Standard_NC96ads_A100_v4", model={"quantization": {"enabled": False}}), 128.5),
        (llama_cpp(), 68.3),
        (
            settings(
                gpuPool={"vmSize": "Standard_ND96isr_H200_v5"},
                model={"name": "deepseek-v3", "quantization": {"precision": "fp8"}},
                sharding={"shardsCount": 8},
            ),
            641.3,
        ),
    ],
)
def test_a_plan_counts_the_bytes_that_its_engine_reads(stack, gib):
    assert plan(stack).weights.gib == pytest.approx(gib, rel=0.005)
