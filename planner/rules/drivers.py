"""Sizes whose GPUs nothing here drives: AKS installs no driver on them, and the device plugin and the images are NVIDIA's."""

from __future__ import annotations

from planner.catalogue import hardware
from planner.catalogue.hardware import Gpu, GpuSize
from planner.engine_facts import traits
from settings import Problem, StackSettings


def lacking(size: GpuSize, gpu: Gpu) -> str | None:
    """What such a size has instead; None where AKS installs NVIDIA's driver."""
    if size.aks_driver is not None:
        return None
    return "AMD GPUs" if gpu.amd else "confidential GPUs, whose signed driver AKS does not install"


def problem(settings: StackSettings, size: GpuSize, gpu: Gpu) -> Problem | None:
    """What would run on such a size beside this program.

    Sources: MicrosoftDocs/azure-aks-docs articles/aks/use-amd-gpus.md@742aedaa (2025-06-04), use-confidential-gpus.md@6b5b35bb
    (2026-09-17).
    """
    has = lacking(size, gpu)
    if has is None:
        return None
    if gpu.amd:
        image = traits(settings.engine).rocm_image or "an image of your own for ROCm"
        alone = f"AMD's GPU Operator and pods that ask for amd.com/gpu, with {image}"
    else:
        alone = "NVIDIA's GPU Operator"
    return Problem(
        key="gpuPool.vmSize",
        value=size.name,
        consequence=f"has {has}: AKS creates such a pool only without a driver, and what is deployed here is for NVIDIA GPUs with the one "
        "that AKS installs, so no shard would ever get a GPU",
        fix=f"{_nearest(settings, size)}; AKS runs this size with gpuProfile.driver None, {alone}, none of which is deployed here",
    )


def _nearest(settings: StackSettings, size: GpuSize) -> str:
    """The size with a driver whose GPUs have most nearly as much memory in all, still sold and with x86 CPUs."""
    known = (hardware.gpu_size(name, settings.azure.location) for name in hardware.gpu_size_names())
    driven = [other for other in known if other and other.aks_driver == "cuda-lts" and not (other.retired_on or other.arm64)]
    return min(driven, key=lambda other: abs(other.gpus * other.gpu_memory_gb - size.gpus * size.gpu_memory_gb)).name
