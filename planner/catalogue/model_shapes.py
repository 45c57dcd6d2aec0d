"""The models whose shape is known: `data/models.csv`, and `data/configs/` with the `config.json` of each as it was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from planner.catalogue.csv_files import number, rows


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


@cache
def models() -> dict[str, ModelShape]:
    """Returns every model of known shape by its name."""
    from planner.catalogue.config_reader import read

    published = {name: read(name, entry["config"]).shape for name, entry in configs().items()}
    return {row["model"]: _shape(row) for row in rows("models.csv")} | published


def configs() -> dict[str, dict[str, Any]]:
    """Returns the entries of `data/configs` by their names: repository, source, source_date and config."""
    folder = Path(__file__).parent / "data" / "configs"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _shape(row: dict[str, str]) -> ModelShape:
    def count(column: str) -> int:
        return int(row[column] or 0)

    return ModelShape(
        name=row["model"],
        params_b=float(row["params_b"]),
        layers=count("layers"),
        hidden=count("hidden"),
        heads=count("heads"),
        kv_heads=count("kv_heads"),
        head_dim=count("head_dim"),
        intermediate=count("intermediate"),
        vocab=count("vocab"),
        context=count("context"),
        kv="mla" if row["kv"] == "mla" else "gqa",
        kv_lora_rank=count("kv_lora_rank"),
        qk_rope_head_dim=count("qk_rope_head_dim"),
        experts=count("experts"),
        experts_per_token=count("experts_per_token"),
        shared_experts=count("shared_experts"),
        expert_intermediate=count("expert_intermediate"),
        dense_layers=count("dense_layers"),
        tied_embeddings=row["tied_embeddings"] == "yes",
        published_gb=number(row["published_gb"]),
    )
