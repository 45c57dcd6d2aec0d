"""The hardware and model catalogue: `data/*.csv`, every figure with its source and date (see data/README.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from planner.plan import GpuSize

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU model and what it can do."""

    name: str
    memory_gib: float
    """What programs get of it in all: less than the size in its name, as error correction and the driver keep some."""
    bandwidth_gb_s: float
    """Of its own memory, 10^9 bytes a second, by the data sheet."""
    dense_tflops: dict[str, float] = field(hash=False)
    """Tensor-core peak without sparsity by precision (fp16, bf16, fp8, int8): those a source states, so fewer than it supports."""
    compute_capability: str | None
    """CUDA's; None on AMD."""
    bf16: bool
    fp8: bool
    int8_tensor_cores: bool
    flash_attention_2: bool
    mig: bool
    tensorrt_until: str | None
    """Last TensorRT release line that supports it; None while current ones do, and where none ever did."""

    @property
    def amd(self) -> bool:
        return self.compute_capability is None


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder-only transformer's shape, by the names of its `config.json` where it has them.

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
    """intermediate_size: of the dense feed-forward; unused where every layer has experts."""
    vocab: int
    """vocab_size."""
    context: int
    """max_position_embeddings."""
    kv: Literal["gqa", "mla"] = "gqa"
    """What a token leaves in the cache: keys and values of each KV head, or DeepSeek's one latent vector for all heads."""
    attention: Literal["full", "windowed", "hybrid"] = "full"
    """Whether all layers look at the whole text, some at a window of it only, or some keep a state instead (linear attention, Mamba)."""
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
    """10^9 bytes of its safetensors where its makers published them in other than 16 bits."""

    @property
    def active_params_b(self) -> float:
        """Parameters that one token uses: all but the routed experts it does not choose."""
        if not self.experts:
            return self.params_b
        routed = 3.0 * self.experts * self.hidden * self.expert_intermediate * (self.layers - self.dense_layers)
        return self.params_b - routed * (1 - self.experts_per_token / self.experts) / 1e9


def _rows(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, kw_only=True)
class _Price:
    usd_per_hour: float | None
    spot_usd_per_hour: float | None


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


@cache
def _prices() -> dict[tuple[str, str], _Price]:
    return {
        (row["size"], row["region"]): _Price(usd_per_hour=_number(row["usd_per_hour"]), spot_usd_per_hour=_number(row["spot_usd_per_hour"]))
        for row in _rows("prices.csv")
    }


@cache
def _sizes() -> dict[str, dict[str, str]]:
    return {row["size"]: row for row in _rows("gpu_sizes.csv")}


def gpu_size_names() -> tuple[str, ...]:
    return tuple(_sizes())


def regions() -> tuple[str, ...]:
    """Regions of which the catalogue has prices."""
    return tuple(dict.fromkeys(region for _, region in _prices()))


def region_names() -> tuple[str, ...]:
    """Regions of Azure's public cloud, with a price here or without."""
    return tuple(row["region"] for row in _rows("regions.csv"))


def gpu_size(name: str, region: str) -> GpuSize | None:
    """The GPU VM size with its price in a region; None when the catalogue does not have it."""
    row = _sizes().get(name)
    if row is None:
        return None
    price = _prices().get((name, region), _Price(usd_per_hour=None, spot_usd_per_hour=None))
    return GpuSize(
        name=name,
        gpu=row["gpu"],
        gpus=int(row["gpus"]),
        gpu_memory_gb=float(row["gpu_memory_gb"]),
        gpu_link=row["gpu_link"],
        vcpus=int(row["vcpus"]),
        cpu_model=row["cpu_model"],
        avx512=row["avx512"] == "yes",
        ram_gib=float(row["ram_gib"]),
        temp_disk_gib=int(row["temp_disk_gib"]) if row["temp_disk_gib"] else None,
        temp_disk_kind=row["temp_disk_kind"],
        # One disk for each GPU: articles/aks/best-practices-storage-nvme.md of MicrosoftDocs/azure-aks-docs.
        nvme_disk_gib=int(row["local_nvme_gib"]) // int(row["gpus"]) if row["local_nvme_gib"] else None,
        network_mbps=int(row["network_mbps"]) if row["network_mbps"] else None,
        quota_family=row["quota_family"],
        aks_driver=None if row["aks_driver"] in ("", "none") else row["aks_driver"],
        retired_on=row["retirement_date"] or None,
        usd_per_hour=price.usd_per_hour,
        spot_usd_per_hour=price.spot_usd_per_hour,
    )


_PRECISIONS = ("fp16", "bf16", "fp8", "int8")


@cache
def _gpus() -> dict[str, Gpu]:
    return {
        row["gpu"]: Gpu(
            name=row["gpu"],
            memory_gib=int(row["memory_mib"]) / 1024,
            bandwidth_gb_s=float(row["bandwidth_gb_s"]),
            dense_tflops={name: float(row[f"{name}_tflops"]) for name in _PRECISIONS if row[f"{name}_tflops"]},
            compute_capability=row["compute_capability"] or None,
            bf16=row["bf16"] == "yes",
            fp8=row["fp8"] == "yes",
            int8_tensor_cores=row["int8_tensor_cores"] == "yes",
            flash_attention_2=row["flash_attention_2"] == "yes",
            mig=row["mig"] == "yes",
            tensorrt_until=row["tensorrt_until"] or None,
        )
        for row in _rows("gpus.csv")
    }


def gpu(name: str) -> Gpu | None:
    """The GPU that a `GpuSize.gpu` names; None when the catalogue does not have it."""
    return _gpus().get(name)


@cache
def models() -> dict[str, ModelShape]:
    """Every model of known shape by name."""
    return {row["model"]: _shape(row) for row in _rows("models.csv")}


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
        published_gb=_number(row["published_gb"]),
    )
