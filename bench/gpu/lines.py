"""The variations of prod that are started on a GPU, in groups that fit on it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.gpu.deployed import Changes
from settings.error_messages import key_text

ONE_H200 = "Standard_ND96isr_H200_v5"
_PRECISIONS = {"int8": "INT8", "fp8": "FP8", "fp16": "F16"}
"""Maps the stack's names of precisions to the checkpoints' (`checkpoint.QUANTIZATION`)."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A server to start: prod's stack with these changes."""

    name: str
    model: str
    checkpoint: str
    changes: Changes
    size: str = ONE_H200
    from_disk: bool = True
    """Whether weights are read from a checkpoint; otherwise vLLM generates them while it loads."""
    load: bool = False
    """Whether the server is measured under the load test."""
    read_back: bool = False
    """Whether to check that prompts cached on the host are read back."""

    @property
    def changed(self) -> dict[str, Any]:
        return {key_text(path): value for path, value in self.changes.items()}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Servers that start together; a single server keeps its whole share of the GPU's memory."""

    name: str
    lines: tuple[Line, ...]


def line(model: str, precision: str, *, kv_bits: int = 8, l1: bool = True, gpus: int = 1, also: Changes | None = None, **more: Any) -> Line:
    """Returns a name for the settings that differ from prod's."""
    changes: dict[Any, Any] = {}
    if precision == "fp16":
        changes["model", "quantization", "enabled"] = False
    elif precision != "int8":
        changes["model", "quantization", "precision"] = precision
    if kv_bits == 16:
        changes["model", "kvCache", "compression"] = False
    if not l1:
        changes["caching", "l1Cache", "enabled"] = False
    if gpus > 1:
        changes |= {("shard", "resources", side, "nvidia.com/gpu"): gpus for side in ("requests", "limits")}
    changes |= also or {}
    parts = (f"{model} {precision}", f"{kv_bits}-bit cache", f"l1Cache {'on' if l1 else 'off'}", *(f"{gpus} GPUs" for _ in range(gpus > 1)))
    rest = (f"{key_text(path)}: {value}" for path, value in (also or {}).items())
    return Line(name=", ".join((*parts, *rest)), model=model, checkpoint=_PRECISIONS[precision], changes=changes, **more)


def _matrix(precision: str) -> tuple[Line, ...]:
    return tuple(line("llama-3-8b", precision, kv_bits=bits, l1=l1) for bits in (8, 16) for l1 in (True, False))


_VERBATIM: Changes = {("sizing", "mode"): "verbatim"}
"""The guide's batch of 32, unchanged."""
_SMALL_CACHE: Changes = {("model", "kvCache", "maxCacheSize"): "4Gi"}
"""A KV cache on the GPU with half of the host's size; prod's is twice as large as the host's."""

GROUPS = (
    Group(
        name="int8",
        lines=(
            line("llama-3-8b", "int8", load=True, read_back=True),
            *_matrix("int8")[1:],
            line("llama-3-8b", "int8", also=_SMALL_CACHE, read_back=True),
        ),
    ),
    Group(name="fp8", lines=_matrix("fp8")),
    Group(name="fp16", lines=_matrix("fp16")),
    Group(name="70b-fp8", lines=(line("llama-3-70b", "fp8", from_disk=False), line("llama-3-8b", "int8", also=_VERBATIM, load=True))),
    Group(name="70b-int8", lines=(line("llama-3-70b", "int8", from_disk=False),)),
    Group(name="two-gpus", lines=(line("llama-3-70b", "int8", gpus=2, from_disk=False),)),
)
