"""vLLM: a pipeline is one pod, or a Ray cluster of several."""

from engines.vllm.engine import ENGINE

__all__ = ["ENGINE"]
