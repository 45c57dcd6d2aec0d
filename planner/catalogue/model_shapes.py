"""The models whose shape is known: `data/models.csv`, and `data/configs/` with the `config.json` of each as it was published."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from planner.catalogue.config_reader import read
from planner.catalogue.csv_files import number, rows
from planner.catalogue.shape import ModelShape, Published

__all__ = ["ModelShape", "Published", "configs", "models"]


@cache
def models() -> dict[str, ModelShape]:
    """Returns every model of known shape by its name."""
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
