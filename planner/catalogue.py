"""The hardware and model catalogue: `data/*.csv`, every figure with its source and date (see data/README.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from planner.plan import GpuSize

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder-only transformer's shape."""

    name: str
    params_b: float
    layers: int


def _rows(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def _prices() -> dict[tuple[str, str], float]:
    return {(row["size"], row["region"]): float(row["usd_per_hour"]) for row in _rows("prices.csv") if row["usd_per_hour"]}


@cache
def _sizes() -> dict[str, dict[str, str]]:
    return {row["size"]: row for row in _rows("gpu_sizes.csv")}


def gpu_size_names() -> tuple[str, ...]:
    return tuple(_sizes())


def gpu_size(name: str, region: str) -> GpuSize | None:
    """The GPU VM size with its price in a region; None when the catalogue does not have it."""
    row = _sizes().get(name)
    if row is None:
        return None
    return GpuSize(
        name=name,
        gpu=row["gpu"],
        gpus=int(row["gpus"]),
        gpu_memory_gb=float(row["gpu_memory_gb"]),
        vcpus=int(row["vcpus"]),
        ram_gib=float(row["ram_gib"]),
        temp_disk_gib=int(row["temp_disk_gib"]) if row["temp_disk_gib"] else None,
        quota_family=row["quota_family"],
        retired_on=row["retirement_date"] or None,
        usd_per_hour=_prices().get((name, region)),
    )


@cache
def models() -> dict[str, ModelShape]:
    """Every model of known shape by name."""
    return {
        row["model"]: ModelShape(name=row["model"], params_b=float(row["params_b"]), layers=int(row["layers"]))
        for row in _rows("models.csv")
    }
