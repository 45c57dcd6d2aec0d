"""What the GPU and the CPU of the chosen VM size cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules

RULES = Rules()

ENABLED = ("1", "true", "yes", "on")
"""Values that switch an environment variable on."""


@RULES.rule
def flash_attention(context: RuleContext) -> Iterator[Finding]:
    """FlashAttention-2 needs an Ampere GPU or a newer one."""
    gpu = context.gpu
    if context.traits.flash_attention_2 and context.settings.model.attention.flash_attention and not gpu.flash_attention_2:
        yield Finding(
            code="GPU-001",
            outcome="not supported",
            path=("model", "attention", "flashAttention"),
            value=False,
            because=f"FlashAttention-2 needs compute capability 8.0 and the {gpu.name} has {gpu.compute_capability}; "
            "fused attention is used instead",
            source="Dao-AILab/flash-attention README: Ampere, Ada or Hopper GPUs",
        )


@RULES.rule
def weight_precision(context: RuleContext) -> Iterator[Finding]:
    """A precision that the GPU cannot compute with gives way to one of the same size."""
    quantization, gpu = context.settings.model.quantization, context.gpu
    missing = {"bf16": not gpu.bf16, "fp8": not gpu.fp8}
    if quantization.enabled and missing.get(quantization.precision):
        instead = {"bf16": "fp16", "fp8": "int8"}[quantization.precision]
        yield Finding(
            code="GPU-002",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value=instead,
            because=f"the {gpu.name} cannot compute in {quantization.precision}; {instead} takes as little memory",
            source="planner/catalogue/data/gpus.csv",
        )


@RULES.rule
def int8_arithmetic(context: RuleContext) -> Iterator[Finding]:
    """Without INT8 tensor cores, INT8 saves memory and no arithmetic."""
    quantization, gpu = context.settings.model.quantization, context.gpu
    if not context.traits.int8_needs_tensor_cores:
        return
    if quantization.enabled and quantization.precision == "int8" and not gpu.int8_tensor_cores:
        yield Finding(
            code="GPU-003",
            outcome="noted",
            severity="info",
            path=("model", "quantization", "precision"),
            because=f"the {gpu.name} has no INT8 tensor cores: INT8 halves the memory of the weights, but they are multiplied in FP16",
            source="planner/catalogue/data/gpus.csv",
        )


@RULES.rule
def tensorrt(context: RuleContext) -> Iterator[Finding]:
    """Current TensorRT no longer supports the older GPUs."""
    gpu = context.gpu
    if context.settings.model.compilation.tensorrt.enabled and gpu.tensorrt_until:
        yield Finding(
            code="GPU-004",
            outcome="not supported",
            path=("model", "compilation", "tensorrt", "enabled"),
            value=False,
            because=f"TensorRT {gpu.tensorrt_until} was the last to support the {gpu.name}; ONNX Runtime's CUDA kernels support it",
            source="planner/catalogue/data/gpus.csv",
        )


@RULES.rule
def compiled_precision(context: RuleContext) -> Iterator[Finding]:
    """TensorRT must not compile the weights into a wider type than quantization chose."""
    quantization, compiled = context.settings.model.quantization, context.settings.model.compilation.tensorrt
    bytes_per_weight = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1, "int4": 0.5}
    if not (quantization.enabled and compiled.enabled) or quantization.precision not in ("fp8", "int8"):
        return
    if bytes_per_weight[compiled.precision] > bytes_per_weight[quantization.precision]:
        yield Finding(
            code="MODEL-001",
            outcome="adjusted",
            path=("model", "compilation", "tensorrt", "precision"),
            value=quantization.precision,
            because=f"an engine compiled in {compiled.precision} holds each weight in {bytes_per_weight[compiled.precision]:g} bytes, "
            f"which undoes the {quantization.precision} of model.quantization",
            source="NVIDIA TensorRT developer guide: an engine's weights have the precision it was built with",
        )


@RULES.rule
def avx512(context: RuleContext) -> Iterator[Finding]:
    """A variable that switches AVX-512 on needs a CPU that has it."""
    size = context.size
    for variable in context.settings.shard.env:
        if "AVX512" in variable.name and (variable.value or "").lower() in ENABLED and not size.avx512:
            yield Finding(
                code="CPU-001",
                outcome="not supported",
                path=("shard", "env", variable.name),
                value="false",
                because=f"{size.name} has {size.cpu_model} CPUs, which have no AVX-512: a server built for it would crash at its first "
                "such instruction",
                source="planner/catalogue/data/gpu_sizes.csv",
            )


@RULES.rule
def profilers(context: RuleContext) -> Iterator[Finding]:
    """Current CUDA has no nvprof."""
    gpu = context.settings.profiling.gpu
    if context.settings.profiling.enabled and gpu.enabled and gpu.nvprof:
        yield Finding(
            code="PROF-001",
            outcome="not supported",
            path=("profiling", "gpu", "nvprof"),
            value=False,
            because="nvprof is no longer part of CUDA and does not support GPUs of compute capability 8.0 and higher; Nsight Systems "
            "(profiling.gpu.nsight) measures the same",
            source="NVIDIA CUDA profiler user's guide: Nsight Systems and Nsight Compute replace nvprof",
        )


@RULES.rule
def visible_devices(context: RuleContext) -> Iterator[Finding]:
    """The server must see every GPU that its pod has."""
    gpus = context.settings.shard.resources.limits.nvidia_gpu or 0
    for variable in context.settings.shard.env:
        if variable.name == "CUDA_VISIBLE_DEVICES" and variable.value is not None and len(variable.value.split(",")) < gpus:
            yield Finding(
                code="GPU-005",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=",".join(map(str, range(gpus))),
                because=f"each shard gets {gpus} GPUs, and its server would see only {len(variable.value.split(','))} of them",
                source="NVIDIA CUDA programming guide: CUDA_VISIBLE_DEVICES",
            )
