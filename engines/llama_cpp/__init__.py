"""llama.cpp's server: a pipeline is one process."""

from engines.llama_cpp.engine import ENGINE

__all__ = ["ENGINE"]
