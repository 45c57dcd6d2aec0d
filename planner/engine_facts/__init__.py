"""What the planner must know of an engine, as data: one file an engine. `traits` finds it by the name that the stack file's `engine` uses.

Not here: how an engine is told (`engines/`).
"""

from planner.catalogue.hardware import Gpu
from planner.engine_facts import llama_cpp, vllm, zig_ai
from planner.engine_facts.traits import EngineTraits, Without

_TRAITS = {"zig_ai": zig_ai.TRAITS, "llama_cpp": llama_cpp.TRAITS, "vllm": vllm.TRAITS}
_BEFORE_TURING = {"vllm": vllm.ON_VOLTA}
NAMES = tuple(_TRAITS)


def traits(engine: str, gpu: Gpu | None = None) -> EngineTraits:
    """An engine's on one kind of GPU; without one, on those that its current release runs on."""
    old = gpu is not None and gpu.compute_capability is not None and float(gpu.compute_capability) < 7.5
    return _BEFORE_TURING.get(engine, _TRAITS[engine]) if old else _TRAITS[engine]


__all__ = ["NAMES", "EngineTraits", "Without", "traits"]
