"""vLLM's own code judges what is rendered for it. `make judge-vllm` writes `verdicts/`; tests/engines/vllm/test_judged.py reads them."""
