"""llama.cpp's server: a pipeline is one process."""
