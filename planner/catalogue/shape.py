"""A model's shape, as far as memory and time depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Published:
    """How a checkpoint stores its weights, where that is not 16 bits throughout."""

    precision: str
    """The name in `model.quantization.precision`: fp8, int8, int4, mxfp4 or nvfp4."""
    method: str
    """The name in vLLM's `--quantization`: fp8, mxfp4, compressed-tensors, awq, gptq, modelopt or modelopt_fp4."""
    bytes_per_weight: float
    """The bytes of a quantised weight with its share of the scales."""
    quantized_b: float
    """Parameters that are stored so, in 10^9; all others have 16 bits."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder-only transformer's shape, with the names of its `config.json` where it has them.

    The defaults describe a dense model with grouped-query attention and an output head of its own.
    """

    name: str
    params_b: float
    """All parameters, of all experts, in units of 10^9."""
    layers: int
    """num_hidden_layers."""
    hidden: int
    """hidden_size."""
    heads: int
    """num_attention_heads."""
    kv_heads: int
    """num_key_value_heads; unused with `mla`."""
    head_dim: int
    intermediate: int
    """intermediate_size of the dense feed-forward; unused where every layer has experts."""
    vocab: int
    """vocab_size."""
    context: int
    """max_position_embeddings."""
    kv: Literal["gqa", "mla"] = "gqa"
    """What a token leaves in the cache: keys and values of each KV head, or DeepSeek's one latent vector for all heads."""
    attention: Literal["full", "windowed", "hybrid"] = "full"
    """Whether all layers look at the whole text, some only at a window of it, or some keep a state instead (linear attention, Mamba)."""
    windowed_layers: int = 0
    """Layers that look at the last `window` tokens only; 0 where no figure is known, so that all layers count as `full`."""
    window: int = 0
    """sliding_window, or the chunk of chunked attention."""
    windowed_values: int = 0
    """Values that a token leaves in such a layer; 0 where they are as many as in the others."""
    token_values: int = 0
    """Values that a token leaves in a layer that looks at the whole text; 0 for 2 x kv_heads x head_dim."""
    state_layers: int = 0
    """Layers that keep nothing of each token: linear attention, Mamba, or feed-forwards that count as layers."""
    state_bytes: int = 0
    """Bytes that a request keeps in all of them together, however long it is."""
    index_bytes: int = 0
    """Bytes of a token in each layer for sparse attention's indexer (DeepSeek-V3.2, GLM-5)."""
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    experts: int = 0
    """Routed experts of a layer; 0 for a dense model."""
    experts_per_token: int = 0
    shared_experts: int = 0
    """Experts that every token uses, beside the routed ones."""
    expert_intermediate: int = 0
    """moe_intermediate_size."""
    dense_layers: int = 0
    """First layers of a model with experts that have none (first_k_dense_replace)."""
    tied_embeddings: bool = False
    """Whether the output head is the token embedding itself."""
    published_gb: float | None = None
    """The size of its safetensors in 10^9 bytes, where its makers did not publish them in 16 bits; None where they did."""
    active_b: float | None = None
    """Parameters that one token uses, in 10^9, as counted from a config.json; None where the figures above give them."""
    published: Published | None = None
    """The precision of the published checkpoint; None for 16 bits, and where it is not known."""

    @property
    def active_params_b(self) -> float:
        """Parameters that one token uses: all but the routed experts it does not choose."""
        if self.active_b is not None:
            return self.active_b
        if not self.experts:
            return self.params_b
        routed = 3.0 * self.experts * self.hidden * self.expert_intermediate * (self.layers - self.dense_layers)
        return self.params_b - routed * (1 - self.experts_per_token / self.experts) / 1e9
