# /// script
# requires-python = ">=3.11"
# dependencies = ["llm-d-planner==0.3.3"]
# ///
"""Answers questions with llm-d-planner; `bench/planner_vs_peers.py` describes its input and output.

Its own estimate of a layout needs bentoml/llm-optimizer, which PyPI does not have, so an answer is what its bundled table holds for
the same model, GPUs and lengths, at the load nearest by Little's law; its recommendation works without.
"""

import contextlib
import json
import sys
import time

from answering import answered

MODELS = {
    "gpt-oss-120b": "openai/gpt-oss-120b", "Llama-3.1-8B": "meta-llama/llama-3.1-8b-instruct",
    "Llama-3.1-70B": "meta-llama/llama-3.3-70b-instruct",
}  # fmt: skip


def estimate(records, row):
    if row["engine"] != "vLLM" or (row["weight_precision"] == "fp8"):
        raise ValueError("its table has vLLM in the checkpoint's own precision only")
    found = [
        record for record in records
        if record.model_hf_repo == MODELS.get(row["model"]) and record.hardware == row["gpu"] and record.hardware_count == row["tp"]
        and (record.prompt_tokens, record.output_tokens) == (row["isl"], row["osl"])
    ]  # fmt: skip
    if not found:
        raise ValueError("not in its table")
    nearest = min(found, key=lambda r: abs(r.requests_per_second * r.e2e_mean / 1e3 - row["concurrency"]))
    return {"ttft_ms": nearest.ttft_mean, "tpot_ms": nearest.itl_mean}


def main():
    questions = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        started = time.perf_counter()
        from planner.planner import Planner
        from planner.shared.schemas import DeploymentIntent

        planner = Planner()
        planner.load_bundled_benchmarks()
        records = planner._benchmark_repo.get_all_benchmarks()
        start_s = time.perf_counter() - started
        answers = answered(questions["rows"], lambda row: estimate(records, row))
        begun = time.perf_counter()
        intent = DeploymentIntent(use_case="chatbot_conversational", user_count=1000, preferred_gpu_types=[questions["sweep"]["gpu"]])
        found = planner.generate_recommendations(planner.generate_specification(intent))
        sweep_s = time.perf_counter() - begun
        assert found.balanced
    print(json.dumps({"start_s": start_s, "answers": answers, "sweep_s": sweep_s}))


main()
