"""GPUs that are partitioned into equal instances (Multi-Instance GPU)."""

from __future__ import annotations

from dataclasses import replace

from planner.catalogue.hardware import Gpu, GpuSize

# The number of instances of a GPU, and the eighths of its memory and memory bandwidth that each gets.
# Source: NVIDIA Multi-Instance GPU user guide, supported profiles of the A100 and H100.
_PROFILES = {"MIG1g": (7, 1), "MIG2g": (3, 2), "MIG3g": (2, 4), "MIG4g": (1, 4), "MIG7g": (1, 8)}


def cut(size: GpuSize, gpu: Gpu, profile: str) -> tuple[GpuSize, Gpu]:
    """Returns the size and the GPU as pods see them: more and smaller GPUs. Raises ValueError when the GPU cannot be partitioned."""
    if not gpu.mig:
        raise ValueError(f"the {gpu.name} has no Multi-Instance GPU, so Azure would refuse the pool")
    instances, eighths = _PROFILES[profile]
    share = eighths / 8
    tflops = {precision: figure * share for precision, figure in gpu.dense_tflops.items()}
    cut_gpu = replace(
        gpu, memory_gib=gpu.memory_gib * share, bandwidth_gb_s=gpu.bandwidth_gb_s * share, dense_tflops=tflops, name=f"{gpu.name} {profile}"
    )
    return replace(size, gpus=size.gpus * instances), cut_gpu
