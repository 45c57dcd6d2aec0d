"""A model's shape in the words of `model.shape`, and back."""

from __future__ import annotations

from typing import Any

from planner.catalogue.model_shapes import ModelShape, Published
from settings.model import Shape


def described(name: str, own: Shape) -> ModelShape:
    """Returns the shape that a stack's `model.shape` describes."""
    experts, latent, windows, state, checkpoint = own.experts, own.latent, own.windows, own.state, own.checkpoint
    return ModelShape(
        name=name,
        params_b=own.params_b,
        active_b=own.active_params_b,
        layers=own.layers,
        hidden=own.hidden,
        heads=own.heads,
        kv_heads=own.kv_heads,
        head_dim=own.head_dim or own.hidden // own.heads,
        intermediate=own.intermediate,
        vocab=own.vocab,
        context=own.context,
        kv="mla" if latent else "gqa",
        attention="hybrid" if state else "windowed" if windows else own.attention,
        token_values=own.token_values,
        tied_embeddings=own.tied_embeddings,
        kv_lora_rank=latent.rank if latent else 0,
        qk_rope_head_dim=latent.rope_dim if latent else 0,
        index_bytes=latent.index_bytes if latent else 0,
        experts=experts.count if experts else 0,
        experts_per_token=experts.per_token if experts else 0,
        shared_experts=experts.shared if experts else 0,
        expert_intermediate=experts.intermediate if experts else 0,
        dense_layers=experts.dense_layers if experts else 0,
        windowed_layers=windows.layers if windows else 0,
        window=windows.tokens if windows else 0,
        windowed_values=windows.token_values if windows else 0,
        state_layers=state.layers if state else 0,
        state_bytes=state.request_bytes if state else 0,
        published=Published(
            precision=checkpoint.precision,
            method=checkpoint.method,
            bytes_per_weight=checkpoint.bytes_per_weight,
            quantized_b=checkpoint.params_b,
        )
        if checkpoint
        else None,
    )


def as_settings(shape: ModelShape) -> dict[str, Any]:
    """Returns `model.shape` as a stack file has it, without what is the default."""
    stated = shape.published
    sections: dict[str, dict[str, Any]] = {
        "experts": {
            "count": shape.experts,
            "perToken": shape.experts_per_token,
            "intermediate": shape.expert_intermediate,
            "shared": shape.shared_experts,
            "denseLayers": shape.dense_layers,
        },
        "latent": {"rank": shape.kv_lora_rank, "ropeDim": shape.qk_rope_head_dim, "indexBytes": shape.index_bytes},
        "windows": {"layers": shape.windowed_layers, "tokens": shape.window, "tokenValues": shape.windowed_values},
        "state": {"layers": shape.state_layers, "requestBytes": shape.state_bytes},
    }
    if stated:
        sections["checkpoint"] = {
            "precision": stated.precision,
            "method": stated.method,
            "bytesPerWeight": round(stated.bytes_per_weight, 6),
            "paramsB": round(stated.quantized_b, 2),
        }
    flat = {
        "paramsB": shape.params_b,
        "activeParamsB": shape.active_b,
        "layers": shape.layers,
        "hidden": shape.hidden,
        "heads": shape.heads,
        "kvHeads": shape.kv_heads,
        "headDim": shape.head_dim,
        "intermediate": shape.intermediate,
        "vocab": shape.vocab,
        "context": shape.context,
        "tokenValues": shape.token_values,
        "tiedEmbeddings": shape.tied_embeddings,
    }
    written = {name: {key: value for key, value in section.items() if value} for name, section in sections.items()}
    return {key: value for key, value in (flat | written).items() if value}
