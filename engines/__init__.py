"""How a server is told: one file an engine. `ENGINES` has them by the name that the stack file's `engine` uses."""

from engines.llama_cpp.engine import LLAMA_CPP
from engines.vllm.engine import VLLM
from engines.workload import Engine
from engines.zig_ai.engine import ZIG_AI

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (ZIG_AI, LLAMA_CPP, VLLM)}

__all__ = ["ENGINES"]
