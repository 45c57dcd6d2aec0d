"""The weight matrices that a `config.json` describes: their names and sizes, layer by layer.

Only families whose modules are written down here are known; any other is refused, as a guess would be a plan of another model. Norms and
biases are not counted, except gpt-oss's biases of the experts: together they are below 0.1 % of a model.

Source: huggingface/transformers src/transformers/models/<model_type>/modeling_*.py (v5.2), and for nemotron_h the modeling file beside
its config.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

_WORDS = {
    "dense": "llama mistral ministral3 qwen2 qwen3 phi3 gemma2 gemma3_text olmo2 olmo3 granite smollm3 seed_oss exaone4",
    "experts": "mixtral qwen3_moe gpt_oss llama4_text glm4_moe minimax_m2 gemma4_text",
    "latent": "deepseek_v3 deepseek_v32 kimi_k2 glm_moe_dsa",
    "hybrid": "qwen3_next qwen3_5_text qwen3_5_moe_text nemotron_h",
}
"""Values of model_type by what their layers are like."""
DENSE = frozenset(_WORDS["dense"].split())
EXPERTS = frozenset(_WORDS["experts"].split())
LATENT = frozenset(_WORDS["latent"].split())
HYBRID = frozenset(_WORDS["hybrid"].split())
DENSE_WITH_WINDOW = ("mistral", "mixtral", "phi3")
"""Families in which a sliding_window is that of every layer."""
KNOWN = DENSE | EXPERTS | LATENT | HYBRID
"""Values of `model_type` whose layers are described here."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One weight matrix, or all matrices of a layer's routed experts together."""

    name: str
    """The name from `layers.` on, such as `layers.3.self_attn.q_proj`; of routed experts, the first one's."""
    params: int
    layer: int | None
    routed: bool = False


def first(config: Config, *names: str, default: int = 0) -> int:
    """Returns the first of these fields that the config has with a value."""
    return next((int(config[name]) for name in names if config.get(name) is not None), default)


def head_dim(config: Config) -> int:
    """Returns head_dim, or hidden_size / num_attention_heads without it."""
    return first(config, "head_dim", default=config["hidden_size"] // config["num_attention_heads"])


def kv_heads(config: Config) -> int:
    """Returns num_key_value_heads, which is the number of heads where it is missing."""
    return first(config, "num_key_value_heads", default=config["num_attention_heads"])


def experts(config: Config) -> int:
    """Returns the routed experts of a layer that has some; 0 for a dense model."""
    if config["model_type"] == "gemma4_text" and not config.get("enable_moe_block"):
        return 0
    return 0 if config["model_type"] in DENSE else first(config, "n_routed_experts", "num_local_experts", "num_experts")


def expert_width(config: Config) -> int:
    """Returns the width of one routed expert."""
    return first(config, "moe_intermediate_size", "intermediate_size")


def shared_width(config: Config) -> int:
    """Returns the width of what every token uses beside its experts, in a layer with experts."""
    if config["model_type"] in ("llama4_text", "gemma4_text"):
        return first(config, "intermediate_size")
    stated = first(config, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size")
    return stated or first(config, "n_shared_experts") * expert_width(config)


def kinds(config: Config) -> list[str]:
    """Returns what each layer does with the text: full_attention, sliding_attention, linear_attention, mamba or none.

    Raises ValueError for a kind of layer that is not known.
    """
    layers, model = config["num_hidden_layers"], config["model_type"]
    if model == "nemotron_h":
        names = {"M": "mamba", "*": "full_attention", "E": "none", "-": "none"}
        return [_one_of(names, letter) for letter in config["hybrid_override_pattern"]]
    if model == "llama4_text":
        every = first(config, "no_rope_layer_interval", default=4)
        return ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
    if stated := config.get("layer_types"):
        known = {name: name for name in ("full_attention", "sliding_attention", "linear_attention")}
        return [_one_of(known, name) for name in stated]
    if model in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"):
        every = first(config, "full_attention_interval", default=4)
        return ["linear_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
    if model in ("gemma2", "gemma3_text"):
        every = first(config, "sliding_window_pattern", default=2 if model == "gemma2" else 6)
        return ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True) and model in DENSE_WITH_WINDOW
    return ["sliding_attention" if windowed else "full_attention"] * layers


def _one_of(known: Mapping[str, str], name: str) -> str:
    if name not in known:
        raise ValueError(f"layers of the kind {name!r}")
    return known[name]


def with_experts(config: Config) -> list[bool]:
    """Returns for each layer whether it has experts."""
    layers, model = config["num_hidden_layers"], config["model_type"]
    if not experts(config):
        return [False] * layers
    if model == "nemotron_h":
        return [letter == "E" for letter in config["hybrid_override_pattern"]]
    if model == "llama4_text":
        step = first(config, "interleave_moe_layer_step", default=1)
        return [(layer + 1) % step == 0 for layer in range(layers)]
    dense, step = set(config.get("mlp_only_layers") or ()), first(config, "decoder_sparse_step", default=1)
    start = first(config, "first_k_dense_replace")
    return [layer >= start and layer not in dense and (layer + 1) % step == 0 for layer in range(layers)]


def modules(config: Config) -> Iterator[Module]:
    """Yields the matrices of the model that generates text. The config is that of its text part, with `model_type` in `KNOWN`."""
    table = config["vocab_size"] * config["hidden_size"]
    yield Module(name="embed_tokens", params=table, layer=None)
    if not config.get("tie_word_embeddings"):
        yield Module(name="lm_head", params=table, layer=None)
    for layer, (kind, sparse) in enumerate(zip(kinds(config), with_experts(config), strict=True)):
        mixer = {"mamba": _mamba, "linear_attention": _linear, "none": lambda config: {}}.get(kind)
        parts = mixer(config) if mixer else _latent(config) if config["model_type"] in LATENT else _attention(config, kind)
        parts = {**parts, **_feed_forward(config, kind, sparse)}
        yield from (Module(name=f"layers.{layer}.{name}", params=params, layer=layer) for name, params in parts.items())
        if sparse:
            # Gemma's experts stand beside its feed-forward, those of the others in it.
            inside = "" if config["model_type"] == "gemma4_text" else f"{_block(config)}."
            yield Module(name=f"layers.{layer}.{inside}experts.0.up_proj", params=_routed(config), layer=layer, routed=True)


def _attention(config: Config, kind: str) -> dict[str, int]:
    hidden, heads, kv, width = config["hidden_size"], config["num_attention_heads"], kv_heads(config), head_dim(config)
    shares_values = False
    if config["model_type"] == "gemma4_text" and kind == "full_attention":
        width = first(config, "global_head_dim", default=width)
        shares_values = bool(config.get("attention_k_eq_v"))
        kv = first(config, "num_global_key_value_heads", default=kv) if shares_values else kv
    gate = 2 if config["model_type"] in HYBRID - {"nemotron_h"} else 1
    block = "mixer" if config["model_type"] == "nemotron_h" else "self_attn"
    return {
        f"{block}.q_proj": hidden * heads * width * gate,
        f"{block}.k_proj": hidden * kv * width,
        f"{block}.v_proj": 0 if shares_values else hidden * kv * width,
        f"{block}.o_proj": heads * width * hidden,
    }


def _latent(config: Config) -> dict[str, int]:
    """DeepSeek's attention with one latent vector for all heads; with an indexer in V3.2 and GLM-5, in the layers that have their own."""
    hidden, heads, rank, queries = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"], config.get("q_lora_rank")
    rope, nope, values = config["qk_rope_head_dim"], config["qk_nope_head_dim"], config["v_head_dim"]
    into = {"self_attn.q_a_proj": hidden * queries, "self_attn.q_b_proj": queries * heads * (nope + rope)} if queries else {
        "self_attn.q_proj": hidden * heads * (nope + rope)
    }  # fmt: skip
    index, width = first(config, "index_n_heads"), first(config, "index_head_dim")
    return {
        **into,
        "self_attn.kv_a_proj_with_mqa": hidden * (rank + rope),
        "self_attn.kv_b_proj": rank * heads * (nope + values),
        "self_attn.o_proj": heads * values * hidden,
        **(
            {"self_attn.indexer.wq_b": (queries or hidden) * index * width, "self_attn.indexer.wk": hidden * (width + index)}
            if index
            else {}
        ),
    }


def _linear(config: Config) -> dict[str, int]:
    """Qwen's gated delta net."""
    keys, values = delta_widths(config)
    hidden, heads = config["hidden_size"], config["linear_num_value_heads"]
    return {
        "linear_attn.in_proj_qkvz": hidden * (2 * keys + 2 * values),
        "linear_attn.in_proj_ba": hidden * 2 * heads,
        "linear_attn.conv1d": (2 * keys + values) * config["linear_conv_kernel_dim"],
        "linear_attn.out_proj": values * hidden,
    }


def delta_widths(config: Config) -> tuple[int, int]:
    """Returns the widths of a gated delta net's keys and values, all heads together."""
    return (
        config["linear_num_key_heads"] * config["linear_key_head_dim"],
        config["linear_num_value_heads"] * config["linear_value_head_dim"],
    )


def mamba_widths(config: Config) -> tuple[int, int]:
    """Returns the inner width of a Mamba-2 layer and the width of its convolution."""
    inner = config["mamba_num_heads"] * config["mamba_head_dim"]
    return inner, inner + 2 * config["n_groups"] * config["ssm_state_size"]


def _mamba(config: Config) -> dict[str, int]:
    inner, convolved = mamba_widths(config)
    return {
        "mixer.in_proj": config["hidden_size"] * (inner + convolved + config["mamba_num_heads"]),
        "mixer.conv1d": convolved * config["conv_kernel"],
        "mixer.out_proj": inner * config["hidden_size"],
    }


def projections(config: Config) -> int:
    """Returns the matrices of a feed-forward: gate, up and down, or only the last two."""
    return 2 if config["model_type"] == "nemotron_h" else 3


def _block(config: Config) -> str:
    return {"nemotron_h": "mixer", "llama4_text": "feed_forward", "minimax_m2": "block_sparse_moe"}.get(config["model_type"], "mlp")


def _feed_forward(config: Config, kind: str, sparse: bool) -> dict[str, int]:
    """The dense feed-forward, or the router and what every token uses beside its experts."""
    hidden, block = config["hidden_size"], _block(config)
    if config["model_type"] == "nemotron_h" and kind != "none":
        return {}
    if sparse:
        router = {f"{block}.router": hidden * experts(config)}
        shared = f"{block}.up_proj" if config["model_type"] == "gemma4_text" else f"{block}.shared_experts.up_proj"
        width = shared_width(config)
        return {**router, shared: projections(config) * hidden * width} if width else router
    width = first(config, "intermediate_size_mlp" if config["model_type"] == "llama4_text" else "intermediate_size", "intermediate_size")
    each = hidden * width
    return {f"{block}.{name}": each for name in ("gate_proj", "up_proj", "down_proj")[3 - projections(config) :]}


def _routed(config: Config) -> int:
    hidden, width = config["hidden_size"], expert_width(config)
    biases = 2 * width + hidden if config["model_type"] == "gpt_oss" else 0
    return experts(config) * (projections(config) * hidden * width + biases)
