"""How a server is told: one file an engine. `ENGINES` has them by the name that the stack file's `engine` uses."""

from engines.llama_cpp import LLAMA_CPP
from engines.vllm import VLLM
from engines.workload import Engine
from engines.zig_ai import ZIG_AI

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (ZIG_AI, LLAMA_CPP, VLLM)}

__all__ = ["ENGINES"]
