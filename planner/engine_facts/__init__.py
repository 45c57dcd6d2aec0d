"""What the planner must know about each engine, as data in one file per engine. `traits` finds it by the name in the stack file's `engine`.

Not here: how an engine's command line and files are rendered (`engines/`).
"""

from planner.catalogue.hardware import Gpu
from planner.engine_facts import llama_cpp, vllm, zig_ai
from planner.engine_facts.traits import EngineTraits, FixedSetting

_TRAITS = {"zig_ai": zig_ai.TRAITS, "llama_cpp": llama_cpp.TRAITS, "vllm": vllm.TRAITS}
_BEFORE_TURING = {"vllm": vllm.ON_VOLTA}
NAMES = tuple(_TRAITS)


def traits(engine: str, gpu: Gpu | None = None) -> EngineTraits:
    """Returns the traits of the engine on this GPU; without a GPU, those of its current release. Raises KeyError for an unknown engine."""
    before_turing = gpu is not None and gpu.compute_capability is not None and float(gpu.compute_capability) < 7.5
    return _BEFORE_TURING.get(engine, _TRAITS[engine]) if before_turing else _TRAITS[engine]


__all__ = ["NAMES", "EngineTraits", "FixedSetting", "traits"]
