"""GPUs and the VM sizes that have them, with prices by region: `data/gpus.csv`, `gpu_sizes.csv`, `prices.csv`, `regions.csv`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from planner.catalogue.csv_files import number, rows


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU card and how fast it is: one that Azure rents, or one on which somebody has measured."""

    name: str
    family: str
    """The makers' name for cards of one kind: V100, H100."""
    form: str
    """PCIe or NVL, where the family's cards differ in it; empty for the usual form."""
    chip: str
    """The architecture: volta, hopper."""
    memory_gb: int
    """The memory as it is sold."""
    memory_gib: float
    """The memory that programs get: less than the size in its name, as error correction and the driver keep some."""
    bandwidth_gb_s: float
    """The bandwidth of its memory in 10^9 bytes a second, from the data sheet."""
    dense_tflops: dict[str, float] = field(hash=False)
    """The tensor cores' peak without sparsity by precision (fp16, bf16, fp8, int8, fp4). Only figures that a source states are here."""
    link_gb_s: float
    """The bandwidth to its neighbours in one direction, in 10^9 bytes a second, unless the machine's own is known."""


@dataclass(frozen=True, kw_only=True)
class Gpu(Card):
    """A GPU that Azure rents, and what it can do."""

    compute_capability: str | None
    """CUDA's compute capability; None for AMD."""
    bf16: bool
    fp8: bool
    int8_tensor_cores: bool
    flash_attention_2: bool
    mig: bool
    tensorrt_until: str | None
    """The last TensorRT release line that supports it; None while current ones do, and where none ever did."""

    @property
    def amd(self) -> bool:
        """Whether it is a GPU by AMD."""
        return self.compute_capability is None


@dataclass(frozen=True, kw_only=True)
class GpuSize:
    """A GPU VM size of the catalogue."""

    name: str
    gpu: str
    gpus: int
    gpu_memory_gb: float
    """The memory of one GPU as it is sold; `Gpu.memory_gib` is what programs get."""
    gpu_link: str
    """How the node's GPUs reach each other: pcie3, pcie4, pcie5, nvlink_pair, nvswitch or xgmi_mesh."""
    vcpus: int
    cpu_model: str
    avx512: bool
    ram_gib: float
    temp_disk_gib: int | None
    temp_disk_kind: str
    """scsi or nvme; empty where the size's page does not say."""
    nvme_disk_gib: int | None
    """The size of each raw NVMe disk beside the temporary disk; None where there are none."""
    network_mbps: int | None
    quota_family: str
    aks_driver: str | None
    """NVIDIA driver that AKS installs on it; None where it installs none."""
    retired_on: str | None
    """The ISO date since which no new VM of this size can be created in public regions; None while Azure sells it."""
    usd_per_hour: float | None
    """The pay-as-you-go price for Linux in the stack's region; None when the catalogue has none."""
    spot_usd_per_hour: float | None
    """The spot price on the date in the catalogue. It changes often, so only its order of magnitude counts."""

    @property
    def arm64(self) -> bool:
        """Whether its CPUs need images that were built for Arm64."""
        return self.cpu_model == "NVIDIA Grace"


@dataclass(frozen=True, kw_only=True)
class _Price:
    usd_per_hour: float | None
    spot_usd_per_hour: float | None


@cache
def _prices() -> dict[tuple[str, str], _Price]:
    return {
        (row["size"], row["region"]): _Price(usd_per_hour=number(row["usd_per_hour"]), spot_usd_per_hour=number(row["spot_usd_per_hour"]))
        for row in rows("prices.csv")
    }


@cache
def _sizes() -> dict[str, dict[str, str]]:
    return {row["size"]: row for row in rows("gpu_sizes.csv")}


def gpu_size_names() -> tuple[str, ...]:
    """Returns the names of all GPU VM sizes of the catalogue."""
    return tuple(_sizes())


def regions() -> tuple[str, ...]:
    """Returns the regions for which the catalogue has prices."""
    return tuple(dict.fromkeys(region for _, region in _prices()))


def region_names() -> tuple[str, ...]:
    """Returns all regions of Azure's public cloud, with or without prices here."""
    return tuple(row["region"] for row in rows("regions.csv"))


def gpu_size(name: str, region: str) -> GpuSize | None:
    """Returns the GPU VM size with its price in a region; None when the catalogue does not have the size."""
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
        # One NVMe disk for each GPU: articles/aks/best-practices-storage-nvme.md of MicrosoftDocs/azure-aks-docs.
        nvme_disk_gib=int(row["local_nvme_gib"]) // int(row["gpus"]) if row["local_nvme_gib"] else None,
        network_mbps=int(row["network_mbps"]) if row["network_mbps"] else None,
        quota_family=row["quota_family"],
        aks_driver=None if row["aks_driver"] in ("", "none") else row["aks_driver"],
        retired_on=row["retirement_date"] or None,
        usd_per_hour=price.usd_per_hour,
        spot_usd_per_hour=price.spot_usd_per_hour,
    )


_PRECISIONS = ("fp16", "bf16", "fp8", "int8", "fp4")


def _speed(row: dict[str, str]) -> dict[str, Any]:
    """The fields of a `Card`."""
    return {
        "name": row["gpu"],
        "family": row["family"],
        "form": row["form"],
        "chip": row["chip"],
        "memory_gb": int(row["memory_gb"]),
        "memory_gib": int(row["memory_mib"]) / 1024,
        "bandwidth_gb_s": float(row["bandwidth_gb_s"]),
        "dense_tflops": {name: float(row[f"{name}_tflops"]) for name in _PRECISIONS if row[f"{name}_tflops"]},
        "link_gb_s": float(row["link_gb_s"]),
    }


@cache
def cards() -> dict[str, list[Card]]:
    """All cards of the catalogue by family, those too that only measurements name."""
    found: dict[str, list[Card]] = {}
    for row in rows("gpus.csv"):
        found.setdefault(row["family"], []).append(Card(**_speed(row)))
    return found


@cache
def _gpus() -> dict[str, Gpu]:
    return {
        row["gpu"]: Gpu(
            **_speed(row),
            compute_capability=row["compute_capability"] or None,
            bf16=row["bf16"] == "yes",
            fp8=row["fp8"] == "yes",
            int8_tensor_cores=row["int8_tensor_cores"] == "yes",
            flash_attention_2=row["flash_attention_2"] == "yes",
            mig=row["mig"] == "yes",
            tensorrt_until=row["tensorrt_until"] or None,
        )
        for row in rows("gpus.csv")
        # Of cards that Azure does not rent only the speed is known.
        if row["features_source"]
    }


def gpu_names() -> tuple[str, ...]:
    """GPUs of which the catalogue knows what they can do, by name."""
    return tuple(sorted(_gpus()))


def gpu_of(size: GpuSize) -> Gpu:
    """The GPU of a size of the catalogue, which has the GPUs of all its sizes."""
    return _gpus()[size.gpu]


def gpu(name: str) -> Gpu | None:
    """Returns the GPU that a `GpuSize.gpu` names; None when the catalogue does not have it."""
    return _gpus().get(name)
