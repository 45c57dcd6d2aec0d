"""What the GPU and the CPU of the chosen size cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from planner.rules.rule import Advice, Situation

ENABLED = ("1", "true", "yes", "on")


def flash_attention(at: Situation) -> Iterator[Advice]:
    if at.traits.flash_attention_2 and at.settings.model.attention.flash_attention and not at.gpu.flash_attention_2:
        yield Advice(
            code="GPU-001",
            outcome="not supported",
            path=("model", "attention", "flashAttention"),
            value=False,
            because=f"FlashAttention-2 needs compute capability 8.0 and the {at.gpu.name} has {at.gpu.compute_capability}; "
            "fused attention is used instead",
            source="Dao-AILab/flash-attention README: Ampere, Ada or Hopper GPUs",
        )


def weight_precision(at: Situation) -> Iterator[Advice]:
    quantization = at.settings.model.quantization
    lacks = {"bf16": not at.gpu.bf16, "fp8": not at.gpu.fp8}
    if quantization.enabled and lacks.get(quantization.precision):
        instead = {"bf16": "fp16", "fp8": "int8"}[quantization.precision]
        yield Advice(
            code="GPU-002",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value=instead,
            because=f"the {at.gpu.name} has no {quantization.precision}; {instead} is as small",
            source="planner/catalogue/data/gpus.csv",
        )


def int8_arithmetic(at: Situation) -> Iterator[Advice]:
    quantization = at.settings.model.quantization
    if not at.traits.int8_needs_tensor_cores:
        return
    if quantization.enabled and quantization.precision == "int8" and not at.gpu.int8_tensor_cores:
        yield Advice(
            code="GPU-003",
            outcome="noted",
            severity="info",
            path=("model", "quantization", "precision"),
            because=f"the {at.gpu.name} has no INT8 tensor cores: INT8 halves the weights' memory, the products run in FP16",
            source="planner/catalogue/data/gpus.csv",
        )


def tensorrt(at: Situation) -> Iterator[Advice]:
    if at.settings.model.compilation.tensorrt.enabled and at.gpu.tensorrt_until:
        yield Advice(
            code="GPU-004",
            outcome="not supported",
            path=("model", "compilation", "tensorrt", "enabled"),
            value=False,
            because=f"TensorRT {at.gpu.tensorrt_until} was the last to know the {at.gpu.name}; ONNX Runtime's CUDA kernels do",
            source="planner/catalogue/data/gpus.csv",
        )


def compiled_precision(at: Situation) -> Iterator[Advice]:
    quantization, compiled = at.settings.model.quantization, at.settings.model.compilation.tensorrt
    wide = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "int4": 0.5}
    if not (quantization.enabled and compiled.enabled) or quantization.precision not in ("fp8", "int8"):
        return
    if wide[compiled.precision] > wide[quantization.precision]:
        yield Advice(
            code="MODEL-001",
            outcome="adjusted",
            path=("model", "compilation", "tensorrt", "precision"),
            value=quantization.precision,
            because=f"an engine compiled in {compiled.precision} holds the weights at {wide[compiled.precision]:g} bytes each, and undoes "
            f"the {quantization.precision} of model.quantization",
            source="NVIDIA TensorRT developer guide: an engine's weights have the precision it was built with",
        )


def avx512(at: Situation) -> Iterator[Advice]:
    for variable in at.settings.shard.env:
        if "AVX512" in variable.name and (variable.value or "").lower() in ENABLED and not at.size.avx512:
            yield Advice(
                code="CPU-001",
                outcome="not supported",
                path=("shard", "env", variable.name),
                value="false",
                because=f"{at.size.name} has {at.size.cpu_model} CPUs, which have no AVX-512: a server built for it would stop at its "
                "first such instruction",
                source="planner/catalogue/data/gpu_sizes.csv",
            )


def profilers(at: Situation) -> Iterator[Advice]:
    gpu = at.settings.profiling.gpu
    if at.settings.profiling.enabled and gpu.enabled and gpu.nvprof:
        yield Advice(
            code="PROF-001",
            outcome="not supported",
            path=("profiling", "gpu", "nvprof"),
            value=False,
            because="nvprof is gone from current CUDA and refuses GPUs of compute capability 8.0 and higher; Nsight Systems "
            "(profiling.gpu.nsight) measures the same",
            source="NVIDIA CUDA profiler user's guide: Nsight Systems and Nsight Compute replace nvprof",
        )


def visible_devices(at: Situation) -> Iterator[Advice]:
    asked = at.settings.shard.resources.limits.nvidia_gpu or 0
    for variable in at.settings.shard.env:
        if variable.name == "CUDA_VISIBLE_DEVICES" and variable.value is not None and len(variable.value.split(",")) < asked:
            yield Advice(
                code="GPU-005",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=",".join(map(str, range(asked))),
                because=f"each shard is given {asked} GPUs, and the server would see {len(variable.value.split(','))} of them",
                source="NVIDIA CUDA programming guide: CUDA_VISIBLE_DEVICES",
            )


RULES = (flash_attention, weight_precision, int8_arithmetic, tensorrt, compiled_precision, avx512, profilers, visible_devices)
