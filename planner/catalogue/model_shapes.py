"""The models whose shape is known: `data/models.csv`, and `data/configs/` with the `config.json` of each as it was published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from planner.catalogue.config_reader import read
from planner.catalogue.csv_files import number, rows
from planner.catalogue.shape import ModelShape, Published

__all__ = ["ModelShape", "Published", "configs", "models"]


@cache
def models() -> Mapping[str, ModelShape]:
    """Returns every model of known shape by its name."""
    return _Models()


def configs() -> dict[str, dict[str, Any]]:
    """Returns the entries of `data/configs` by their names: repository, source, source_date and config."""
    return {name: json.loads(path.read_text()) for name, path in _config_files().items()}


class _Models(Mapping[str, ModelShape]):
    """Reads a config.json when its model is asked for, as a plan needs one of them."""

    def __init__(self) -> None:
        self._made: dict[str, ModelShape] = {}
        self._makers: dict[str, Callable[[], ModelShape]] = {
            **{row["model"]: partial(_shape, row) for row in rows("models.csv")},
            **{name: partial(_published, name, path) for name, path in _config_files().items()},
        }

    def __getitem__(self, name: str) -> ModelShape:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _config_files() -> dict[str, Path]:
    folder = Path(__file__).parent / "data" / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def _published(name: str, path: Path) -> ModelShape:
    return read(name, json.loads(path.read_text())["config"]).shape


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
