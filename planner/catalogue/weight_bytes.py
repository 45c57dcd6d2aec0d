"""Bytes of one weight in each precision: what a plan keeps room for, and what a measured engine reads."""

from __future__ import annotations

from typing import NamedTuple


class WeightBytes(NamedTuple):
    """Bytes of one weight with its share of the scales."""

    planned: float
    """The bytes with the finest scales that checkpoints of the precision have: what fits with these fits with coarser ones too."""
    read: float
    """The bytes with the scales of the engines whose speed was measured, to which the performance model's constants are fitted."""


def _same(size: float) -> WeightBytes:
    return WeightBytes(planned=size, read=size)


WEIGHT_BYTES = {
    "fp32": _same(4.0),
    "fp16": _same(2.0),
    "bf16": _same(2.0),
    # Planned: one 32-bit scale for 128 x 128 values (DeepSeek-V3's config.json, weight_block_size). Read: scales by tensor or channel.
    "fp8": WeightBytes(planned=1 + 4 / 128**2, read=1.0),
    # int8 and int4, planned: 32 values share one 16-bit scale, as in llama.cpp's block_q8_0 and block_q4_0 (ggml-org/llama.cpp
    # ggml/src/ggml-common.h@01243c58). Read: int8 with scales by output channel (TensorRT-LLM, vLLM), int4 with groups of 128 values that
    # have a 16-bit scale and a zero point, as GPTQ and AWQ have.
    "int8": WeightBytes(planned=34 / 32, read=1.0),
    "gptq-int8": _same(1.03),
    # NVFP4: 16 values share an 8-bit scale; MXFP4: 32 do (OCP microscaling formats 1.0).
    "fp4": _same(0.5625),
    "mxfp4": _same(0.53125),
    "int4": WeightBytes(planned=18 / 32, read=0.53),
    "gptq-int4": _same(0.53),
    "awq-int4": _same(0.53),
    # ggml-org/llama.cpp ggml/src/ggml-common.h; for the *_k_m mixtures the mean over a model.
    "q4_0": _same(0.5625),
    "q4_1": _same(0.625),
    "q5_0": _same(0.6875),
    "q8_0": _same(1.0625),
    "q3_k_m": _same(0.489),
    "q4_k_m": _same(0.606),
    "q5_k_m": _same(0.711),
    "q6_k": _same(0.82),
}
"""The bytes by precision. Formats that a stack cannot choose, such as q4_k_m, have one figure."""

COUNTED_AS = {"nvfp4": "fp4"}
"""Values of `model.quantization.precision` that have another name in this table and in the measurements."""
