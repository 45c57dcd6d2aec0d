"""A model's shape in the words of `model.shape`, and back."""

from __future__ import annotations

from typing import Any

from planner.catalogue.model_shapes import ModelShape, Published
from settings.model import Shape

_CHECKPOINT = "published."
FIELDS = {
    "paramsB": "params_b",
    "activeParamsB": "active_b",
    "layers": "layers",
    "hidden": "hidden",
    "heads": "heads",
    "kvHeads": "kv_heads",
    "headDim": "head_dim",
    "intermediate": "intermediate",
    "vocab": "vocab",
    "context": "context",
    "attention": "attention",
    "tokenValues": "token_values",
    "tiedEmbeddings": "tied_embeddings",
    "experts.count": "experts",
    "experts.perToken": "experts_per_token",
    "experts.intermediate": "expert_intermediate",
    "experts.shared": "shared_experts",
    "experts.denseLayers": "dense_layers",
    "latent.rank": "kv_lora_rank",
    "latent.ropeDim": "qk_rope_head_dim",
    "latent.indexBytes": "index_bytes",
    "windows.layers": "windowed_layers",
    "windows.tokens": "window",
    "windows.tokenValues": "windowed_values",
    "state.layers": "state_layers",
    "state.requestBytes": "state_bytes",
    "checkpoint.precision": f"{_CHECKPOINT}precision",
    "checkpoint.method": f"{_CHECKPOINT}method",
    "checkpoint.bytesPerWeight": f"{_CHECKPOINT}bytes_per_weight",
    "checkpoint.paramsB": f"{_CHECKPOINT}quantized_b",
}
"""The keys below `model.shape`, each with its field of `ModelShape`."""


def described(name: str, own: Shape) -> ModelShape:
    """Returns the shape that a stack's `model.shape` describes."""
    document = own.model_dump(by_alias=True, exclude_none=True)
    found: dict[str, Any] = {"head_dim": own.hidden // own.heads}
    for key, field in FIELDS.items():
        section, _, leaf = key.rpartition(".")
        values = document.get(section) if section else document
        if values and leaf in values:
            found[field] = values[leaf]
    published = {field.removeprefix(_CHECKPOINT): found.pop(field) for field in list(found) if field.startswith(_CHECKPOINT)}
    found["kv"] = "mla" if own.latent else "gqa"
    found["attention"] = "hybrid" if own.state else "windowed" if own.windows else own.attention
    return ModelShape(name=name, published=Published(**published) if published else None, **found)


def as_settings(shape: ModelShape) -> dict[str, Any]:
    """Returns `model.shape` as a stack file has it, without what is 0, false or follows from the rest."""
    written: dict[str, Any] = {}
    for key, field in FIELDS.items():
        owner = shape.published if field.startswith(_CHECKPOINT) else shape
        value = getattr(owner, field.removeprefix(_CHECKPOINT), None)
        if not value or key == "attention":
            continue
        section, _, leaf = key.rpartition(".")
        place = written.setdefault(section, {}) if section else written
        place[leaf] = round(value, 6) if isinstance(value, float) else value
    return written
