"""Published `config.json` files, read: the counts of parameters that their makers publish, and what is said instead of guessed."""

import datetime
import json

import pytest

from planner.catalogue import config_reader, model_shapes
from planner.catalogue.config_reader import UnknownModel, read
from planner.fit import checkpoints, memory_model, own_shape
from settings.model import Shape
from tests.engines.vllm_referee.lines import MODELS

CONFIGS = model_shapes.configs()
MODEL = model_shapes.models()

# 10^9 parameters, all and those that one token uses, as the makers state them; the first without encoders of pictures.
PUBLISHED = {
    # arXiv:2508.10925, table 1; the active ones leave out the embedding, which is added here.
    "gpt-oss-20b": (20.91, 3.61 + 0.58),
    "gpt-oss-120b": (116.83, 5.13 + 0.58),
    # The makers' model cards; Llama 4's and Qwen3.5's whole numbers are in the names.
    "llama-4-scout-17b-16e": (109, 17),
    "llama-4-maverick-17b-128e": (400, 17),
    "gemma-4-26b-a4b": (25.2, 3.8),
    "glm-4.5-air": (106, 12),
    "glm-5": (744, 40),
    "deepseek-v3.2": (671, 37),
    "minimax-m2.5": (230, 10),
    "kimi-k2.5": (1000, 32),
    "nemotron-3-nano-30b-a3b": (31.6, 3.6),
    "qwen3-coder-480b-a35b": (480, 35),
    "qwen3.5-397b-a17b": (397, 17),
    "qwen3.5-122b-a10b": (122, 10),
    "qwen3.5-35b-a3b": (35, 3),
    "qwen3.5-27b": (27, 27),
    "phi-4": (14.7, 14.7),
    "devstral-small-2-24b": (23.6, 23.6),
    # keras-team/keras-hub keras_hub/src/models/gemma3/gemma3_presets.py, gemma3_12b_text.
    "gemma-3-12b": (11.766, 11.766),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_are_those_that_the_makers_publish(name):
    total, active = PUBLISHED[name]
    assert MODEL[name].params_b == pytest.approx(total, rel=0.03)
    assert MODEL[name].active_params_b == pytest.approx(active, rel=0.16)


@pytest.mark.parametrize("name", CONFIGS)
def test_each_config_has_its_source_and_date(name):
    entry = CONFIGS[name]
    assert entry["repository"].count("/") == 1 and entry["source"]
    assert datetime.date.fromisoformat(entry["source_date"]) <= datetime.date.today()


@pytest.mark.parametrize("name", [name for name in MODELS if name in MODEL and name not in CONFIGS])
def test_a_config_gives_the_figures_of_the_table(name):
    """The table's rows were written by hand, from other sources."""
    config = MODELS[name]["config"]
    if config.get("model_type") not in ("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "deepseek_v3", "kimi_k2"):
        with pytest.raises(UnknownModel):
            read(name, config)
        return
    found, row = read(name, config).shape, MODEL[name]
    same = "layers hidden heads kv_heads kv kv_lora_rank qk_rope_head_dim experts experts_per_token shared_experts dense_layers"
    assert {field: getattr(found, field) for field in same.split()} == {field: getattr(row, field) for field in same.split()}
    assert found.params_b == pytest.approx(row.params_b, rel=0.003)
    assert found.active_params_b == pytest.approx(row.active_params_b, rel=0.003)


# metadata.total_size of huggingface.co/openai/gpt-oss-20b and gpt-oss-120b model.safetensors.index.json.
FILES_GB = {"gpt-oss-20b": 13.761264768, "gpt-oss-120b": 65.248815744}


@pytest.mark.parametrize("name", FILES_GB)
def test_a_checkpoint_in_mxfp4_is_as_large_as_published(name):
    """In MXFP4 are only the experts: all of it would be 62 GB, and 16 bits 234."""
    shape = MODEL[name]
    assert checkpoints.published_gib(shape) * 2**30 / 1e9 == pytest.approx(FILES_GB[name], rel=0.002)
    assert memory_model.weights_gib(shape, 0, shape.layers - 1, "mxfp4") == pytest.approx(checkpoints.published_gib(shape), rel=0.01)


DENSE = MODELS["qwen3-8b"]["config"]
IGNORED = ["lm_head", "re:.*self_attn.*"]


def compressed(**weights):
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}, "ignore": IGNORED}


@pytest.mark.parametrize(
    ("quantization", "precision", "method", "size"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", "fp8", 1 + 4 / 128**2),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4", "awq", 0.5 + 2.5 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int8", "gptq", 1 + 3 / 128),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", "modelopt_fp4", 0.5625),
        ({"quantization": {"quant_algo": "FP8"}}, "fp8", "modelopt", 1.0),
        (compressed(num_bits=8, type="int", strategy="channel"), "int8", "compressed-tensors", 1.0),
        (compressed(num_bits=4, type="int", group_size=32), "int4", "compressed-tensors", 0.5625),
        (compressed(num_bits=4, type="float", group_size=16), "nvfp4", "compressed-tensors", 0.5625),
    ],
)
def test_a_quantisation_is_read_with_its_scales(quantization, precision, method, size):
    stated = read("ours", DENSE, quantization).shape.published
    assert (stated.precision, stated.method, stated.bytes_per_weight) == (precision, method, size)
    attention = 36 * 2 * 4096 * 128 * (32 + 8) / 1e9
    in_layers = 8.19 - 2 * 151936 * 4096 / 1e9
    kept = attention if "ignore" in quantization else 0
    assert stated.quantized_b == pytest.approx(in_layers - kept, rel=0.002)


def test_names_of_matrices_with_a_prefix_of_their_wrapper_are_found():
    """NVIDIA's Gemma 4 names each layer's attention below model.language_model."""
    ignored = [f"model.language_model.layers.{layer}.self_attn*" for layer in range(36)]
    stated = read("ours", DENSE, {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ignored}).shape.published
    assert stated.quantized_b == pytest.approx(36 * 3 * 4096 * 12288 / 1e9, rel=0.001)


@pytest.mark.parametrize(
    ("config", "quantization", "said"),
    [
        (DENSE | {"model_type": "kimi_linear"}, None, "'kimi_linear'"),
        (DENSE | {"layer_types": ["deepseek_sparse_attention"] * 36}, None, "deepseek_sparse_attention"),
        (DENSE | {"num_kv_shared_layers": 2}, None, "share one cache"),
        (DENSE, {"quant_method": "bitsandbytes"}, "bitsandbytes"),
        (DENSE, {"quantization": {"quant_algo": "MIXED_PRECISION"}}, "MIXED_PRECISION"),
        ({name: value for name, value in DENSE.items() if name != "hidden_size"}, None, "'hidden_size' is missing"),
        (DENSE | {"num_hidden_layers": "many"}, None, "wrong type"),
        ([1], None, "no JSON object"),
    ],
)
def test_what_is_not_known_is_said_and_never_taken_as_dense(config, quantization, said):
    with pytest.raises(UnknownModel, match=said):
        config_reader.read("ours", config, quantization)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_printed_to_paste_is_the_same_model(name):
    shape = MODEL[name]
    pasted = own_shape.described(name, Shape.model_validate_json(json.dumps(own_shape.as_settings(shape))))
    assert own_shape.as_settings(pasted) == own_shape.as_settings(shape)
    assert pasted.active_params_b == shape.active_params_b
    for windows in (False, True):
        told = [memory_model.kv_bytes_per_token(one, one.layers, "fp16", windows=windows) for one in (shape, pasted)]
        assert told[0] == told[1]


@pytest.mark.parametrize(
    ("name", "token", "request_bytes"),
    [
        # 18 of 36 layers look at all of the text, with 8 heads of 64 values; the others at 128 tokens.
        ("gpt-oss-120b", 18 * 2 * 8 * 64 * 2, 18 * 2 * 8 * 64 * 2 * 128),
        # 16 of 64 layers have a cache.
        ("qwen3.5-27b", 16 * 2 * 4 * 256 * 2, 48 * (2 * 10240 * 3 + 4 * 48 * 128 * 128)),
        # 5 layers with 2 heads of 512 values, 25 with 8 of 256 and a window of 1024.
        ("gemma-4-26b-a4b", 5 * 2 * 2 * 512 * 2, 25 * 2 * 8 * 256 * 2 * 1024),
        # One latent vector for all heads, and the indexer's bytes.
        ("deepseek-v3.2", 61 * (576 * 2 + 132), 0),
        # 6 of 52 layers attend.
        ("nemotron-3-nano-30b-a3b", 6 * 2 * 2 * 128 * 2, 23 * (2 * 6144 * 3 + 4 * 4096 * 128)),
    ],
)
def test_the_cache_is_counted_as_the_layers_are(name, token, request_bytes):
    shape = MODEL[name]
    assert memory_model.kv_bytes_per_token(shape, shape.layers, "fp16", windows=True) == token
    assert memory_model.kv_bytes_per_request(shape, shape.layers, "fp16", windows=True) == request_bytes
