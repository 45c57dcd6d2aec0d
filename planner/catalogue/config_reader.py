"""Reads a model's shape from its published `config.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.catalogue import config_modules as fields
from planner.catalogue import config_precision
from planner.catalogue.config_modules import Config, first
from planner.catalogue.shape import ModelShape

_INDEX_BYTES = 132
"""What DeepSeek's indexer keeps of a token in each layer: 128 values in FP8 and a 32-bit scale.

Source: vllm-project/vllm v0.17.1 vllm/model_executor/models/deepseek_v2.py, DeepseekV32IndexerCache (head_dim + head_dim / 128 x 4)."""

_FOREIGN = {
    "hidden_size_per_layer_input": "an embedding for each layer",
    "num_kv_shared_layers": "layers that share one cache",
    "use_double_wide_mlp": "feed-forwards of two widths",
    "altup_num_inputs": "several hidden states side by side",
    "moe_latent_size": "experts of a narrower input",
    "linear_attn_config": "Kimi's delta attention",
    "compress_ratios": "compressed attention",
    "attn_res_block_size": "residuals across blocks of layers",
}
"""Fields of known families that change what is computed or kept, with what they mean; harmless if empty, false or 0."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    # Left out of Gemma 3's files where they are as in huggingface/transformers Gemma3TextConfig.
    "gemma3_text": {
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131_072,
        "sliding_window": 4096, "tie_word_embeddings": True,
    },
    "gemma2": {"tie_word_embeddings": True},
    "gemma4_text": {"tie_word_embeddings": True},
}  # fmt: skip


class UnknownModel(ValueError):
    """What the config describes is not known here; the text says what, as a clause without a capital or a full stop."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a `config.json` says of a model."""

    shape: ModelShape
    architecture: str
    notes: tuple[str, ...]
    """What the shape leaves out, in whole sentences."""


def read(name: str, config: Config, quantization: Config | None = None) -> Reading:
    """Returns the shape of the model that generates text, and what is left out of it.

    `quantization` is ModelOpt's `hf_quant_config.json`, for a config without `quantization_config`. Raises UnknownModel for an
    architecture, a kind of layer or a quantisation method that is not known here.
    """
    text = _text_part(config)
    try:
        return _read(name, config, text, quantization)
    except UnknownModel:
        raise
    except KeyError as error:
        raise UnknownModel(f"the field {error.args[0]!r} is missing") from error
    except (TypeError, ZeroDivisionError, AttributeError) as error:
        raise UnknownModel(f"a field has a value of the wrong type ({error})") from error
    except ValueError as error:
        raise UnknownModel(f"it has {error}, which the planner does not know") from error


def _text_part(config: Config) -> dict[str, Any]:
    if not isinstance(config, dict) or not isinstance(config.get("text_config", {}), dict):
        raise UnknownModel("it is no JSON object with the fields of a model")
    inner = dict(config.get("text_config") or config)
    if inner is not config and "tie_word_embeddings" not in inner and "tie_word_embeddings" in config:
        inner["tie_word_embeddings"] = config["tie_word_embeddings"]
    kind = inner.get("model_type") or config.get("model_type")
    if kind not in fields.KNOWN:
        names = ", ".join(config.get("architectures") or ()) or "no architecture"
        raise UnknownModel(f"its layers are of the kind {kind!r} ({names}), which the planner does not know")
    return {**_DEFAULTS.get(str(kind), {}), **inner, "model_type": kind}


def _read(name: str, config: Config, text: Config, quantization: Config | None) -> Reading:
    foreign = [meaning for field, meaning in _FOREIGN.items() if text.get(field)]
    if foreign:
        raise UnknownModel(f"it has {' and '.join(foreign)}, which the planner does not know")
    modules = tuple(fields.modules(text))
    total, routed = sum(module.params for module in modules), sum(module.params for module in modules if module.routed)
    experts, chosen = fields.experts(text), first(text, "num_experts_per_tok", "top_k_experts", "experts_per_token")
    stated = config.get("quantization_config") or text.get("quantization_config") or quantization
    sparse, latent = fields.with_experts(text), text["model_type"] in fields.LATENT
    dense = sparse.index(True) if experts and all(sparse[sparse.index(True) :]) else 0
    shape = ModelShape(
        name=name,
        params_b=round(total / 1e9, 2),
        active_b=round((total - routed * (1 - chosen / experts)) / 1e9, 2) if experts else None,
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        heads=text["num_attention_heads"],
        kv_heads=fields.kv_heads(text),
        head_dim=text["qk_nope_head_dim"] if latent else fields.head_dim(text),
        intermediate=first(text, "intermediate_size_mlp", "intermediate_size") or fields.expert_width(text),
        vocab=text["vocab_size"],
        context=text["max_position_embeddings"],
        kv="mla" if latent else "gqa",
        kv_lora_rank=text["kv_lora_rank"] if latent else 0,
        qk_rope_head_dim=text["qk_rope_head_dim"] if latent else 0,
        index_bytes=_INDEX_BYTES if latent and text.get("index_n_heads") else 0,
        experts=experts,
        experts_per_token=chosen if experts else 0,
        shared_experts=round(fields.shared_width(text) / fields.expert_width(text)) if experts else 0,
        expert_intermediate=fields.expert_width(text) if experts else 0,
        dense_layers=dense,
        tied_embeddings=bool(text.get("tie_word_embeddings")),
        published=config_precision.published(modules, stated),
        **_cache(text),
    )
    return Reading(shape=shape, architecture=(config.get("architectures") or ["?"])[0], notes=tuple(_notes(config, text)))


def _cache(text: Config) -> dict[str, Any]:
    """What the layers keep of the text, where not all of them keep all of it."""
    kinds = fields.kinds(text)
    window = first(text, "attention_chunk_size" if text["model_type"] == "llama4_text" else "sliding_window")
    windowed = kinds.count("sliding_attention") if window < text["max_position_embeddings"] else 0
    stateful = len(kinds) - kinds.count("sliding_attention") - kinds.count("full_attention")
    found: dict[str, Any] = {"attention": "hybrid" if stateful else "windowed" if windowed else "full"}
    if windowed:
        found |= {"windowed_layers": windowed, "window": window}
    if windowed and text["model_type"] == "gemma4_text" and text.get("attention_k_eq_v"):
        # Keys and values come from one projection, but are kept apart: the keys are rotated.
        globally = first(text, "num_global_key_value_heads", default=fields.kv_heads(text)) * first(text, "global_head_dim")
        found |= {"windowed_values": 2 * fields.kv_heads(text) * fields.head_dim(text), "token_values": 2 * globally}
    if stateful:
        found |= {"state_layers": stateful, "state_bytes": sum(_state_bytes(text, kind) for kind in kinds)}
    return found


def _state_bytes(text: Config, kind: str) -> int:
    """Bytes that a request keeps in one such layer, however long it is: the convolution's last inputs in 16 bits, and the state."""
    wide = 4 if (text.get("mamba_ssm_dtype") or text.get("mamba_ssm_cache_dtype")) == "float32" else 2
    if kind == "linear_attention":
        keys, values = fields.delta_widths(text)
        state = text["linear_num_value_heads"] * text["linear_key_head_dim"] * text["linear_value_head_dim"]
        return 2 * (2 * keys + values) * (text["linear_conv_kernel_dim"] - 1) + wide * state
    if kind == "mamba":
        inner, convolved = fields.mamba_widths(text)
        return 2 * convolved * (text["conv_kernel"] - 1) + wide * inner * text["ssm_state_size"]
    return 0


def _notes(config: Config, text: Config) -> Iterator[str]:
    if config.get("vision_config") or config.get("audio_config"):
        yield "Its encoders of pictures or sound are not counted: their weights and the work of a picture come on top."
    if first(text, "num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"):
        yield "Its layers for multi-token prediction are not counted: they lie in the files, and an engine loads them only on request."
    if text.get("index_n_heads"):
        yield "Its sparse attention reads a part of the text only; times are estimated as if it read all, so they are too long."
    if config.get("auto_map"):
        yield "It brings code of its own (auto_map); an engine that does not know the architecture needs --trust-remote-code to run it."
