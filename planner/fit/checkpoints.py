"""The size of a model's files in the format that an engine reads: on the hub, in the storage, on a node's disk. GiB are 2^30 bytes."""

from __future__ import annotations

from planner.catalogue.model_shapes import ModelShape
from planner.fit.memory_model import published_in, table_params

_GIB = 2**30

_GGUF_BITS = {"fp16": 16.0005, "bf16": 16.0005, "int8": 8.5008, "int4": 4.8944}
"""Bits per parameter of a whole file: F16, Q8_0 and Q4_K_M, the largest of the usual 4-bit files.

Source: ggml-org/llama.cpp tools/quantize/README.md@311c2c9f, the table of Llama-3.1-8B.
"""
_QUANTIZED_BYTES = {"fp8": 1 + 4 / 128**2, "int8": 1.0, "int4": 0.5 + 2 / 128, "mxfp4": 0.5 + 1 / 32, "fp4": 0.5 + 1 / 16}
"""Bytes per parameter of a layer, with its share of the scales.

fp8: one 32-bit scale for at most 128 x 128 values (DeepSeek-V3's config.json, weight_block_size); int8: one scale per output channel,
which is too little to count; int4: one 16-bit scale for 128 values; mxfp4 and fp4 (NVFP4): an 8-bit scale for 32 and 16 values.
Embedding and head stay in 16 bits. Source: OCP microscaling formats 1.0, and the recipes of
huggingface.co/neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a8, -quantized.w4a16 and -FP8.
"""


def gguf_gib(shape: ModelShape, precision: str) -> float:
    """Returns the GiB of one GGUF file with the whole model; in 16 bits for a precision that GGUF does not have."""
    return shape.params_b * 1e9 * _GGUF_BITS.get(precision, _GGUF_BITS["fp16"]) / 8 / _GIB


def published_gib(shape: ModelShape) -> float:
    """Returns the GiB of the model's safetensors as its makers published them: the size in the catalogue, otherwise 16 bits per weight."""
    stated = shape.published
    in_full = 2 * shape.params_b - (stated.quantized_b * (2 - stated.bytes_per_weight) if stated else 0)
    return (shape.published_gb or in_full) * 1e9 / _GIB


def quantized_gib(shape: ModelShape, precision: str) -> float:
    """Returns the GiB of safetensors in this precision, as llm-compressor writes them and vLLM reads them.

    A model that was published in FP8 has its published size, which includes its layer for multi-token prediction.
    """
    if precision not in _QUANTIZED_BYTES:
        return 2 * shape.params_b * 1e9 / _GIB
    if published_in(shape, precision) or (precision == "fp8" and shape.published_gb):
        return published_gib(shape)
    tables = table_params(shape)
    return ((shape.params_b * 1e9 - tables) * _QUANTIZED_BYTES[precision] + 2 * tables) / _GIB
