"""VM sizes that this program cannot use: AKS installs no GPU driver on them, and the device plugin and the images are NVIDIA's."""

from __future__ import annotations

from planner.catalogue import hardware
from planner.catalogue.hardware import Gpu, GpuSize
from planner.engine_facts import traits
from settings import Problem, StackSettings


def lacking(size: GpuSize, gpu: Gpu) -> str | None:
    """The kind of GPU for which AKS installs no driver; None where it installs NVIDIA's."""
    if size.aks_driver is not None:
        return None
    return "AMD GPUs" if gpu.amd else "confidential GPUs, whose signed driver AKS does not install"


def problem(settings: StackSettings, size: GpuSize, gpu: Gpu) -> Problem | None:
    """Why the size is refused, and how AKS runs it without this program; None for a size that can be used.

    Sources: MicrosoftDocs/azure-aks-docs articles/aks/use-amd-gpus.md@742aedaa (2025-06-04), use-confidential-gpus.md@6b5b35bb
    (2026-09-17).
    """
    without_driver = lacking(size, gpu)
    if without_driver is None:
        return None
    if gpu.amd:
        image = traits(settings.engine).rocm_image or "an image of your own for ROCm"
        needed = f"AMD's GPU Operator and pods that ask for amd.com/gpu, with {image}"
    else:
        needed = "NVIDIA's GPU Operator"
    return Problem(
        key="gpuPool.vmSize",
        value=size.name,
        consequence=f"has {without_driver}: AKS creates such a pool only without a driver, and what is deployed here needs NVIDIA GPUs "
        "with the driver that AKS installs, so no shard would ever get a GPU",
        fix=f"{_nearest(settings, size)}; AKS runs this size with gpuProfile.driver None, {needed}, none of which is deployed here",
    )


def _nearest(settings: StackSettings, size: GpuSize) -> str:
    """The size with a driver, still sold and with x86 CPUs, whose GPUs together come closest to the same memory."""
    known = (hardware.gpu_size(name, settings.azure.location) for name in hardware.gpu_size_names())
    driven = [other for other in known if other and other.aks_driver == "cuda-lts" and not (other.retired_on or other.arm64)]
    return min(driven, key=lambda other: abs(other.gpus * other.gpu_memory_gb - size.gpus * size.gpu_memory_gb)).name
