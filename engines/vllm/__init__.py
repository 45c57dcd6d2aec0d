"""vLLM: a pipeline is one pod, or a Ray cluster of several."""
