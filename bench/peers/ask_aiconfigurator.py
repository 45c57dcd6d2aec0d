# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["aiconfigurator==0.12.0"]
# ///
"""Answers questions with NVIDIA's aiconfigurator; `bench/planner_vs_peers.py` describes its input and output."""

import contextlib
import json
import logging
import sys
import time
import warnings

from answering import answered

MODELS = {
    "Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B", "Llama-3.1-8B": "meta-llama/Meta-Llama-3.1-8B", "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3-235B-A22B": "Qwen/Qwen3-235B-A22B", "gpt-oss-120b": "openai/gpt-oss-120b", "Kimi-K2.5": "moonshotai/Kimi-K2.5",
    "GLM-5": "zai-org/GLM-5-FP8", "Llama-3-8B": "meta-llama/Meta-Llama-3.1-8B", "Llama-3-70B": "meta-llama/Meta-Llama-3.1-70B",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B",
}  # fmt: skip
SYSTEMS = {"H100": "h100_sxm", "H200": "h200_sxm"}
BACKENDS = {"vLLM": "vllm", "TensorRT-LLM": "trtllm", "SGLang": "sglang"}


def estimate(ask, row):
    experts = {}
    if row["moe"]:
        experts = {"moe_tp_size": row["moe_tp"], "moe_ep_size": row["moe_ep"]}
        if row["weight_precision"] == "fp8":
            experts["moe_quant_mode"] = "fp8_block"
    dense = row["weight_precision"] in ("fp8", "bf16") and not row["moe"]
    found = ask(
        model_path=MODELS[row["model"]],
        system_name=SYSTEMS[row["gpu"]],
        backend_name=BACKENDS[row["engine"]],
        isl=row["isl"],
        osl=row["osl"],
        batch_size=row["concurrency"],
        tp_size=row["tp"],
        gemm_quant_mode={"fp8": "fp8", "bf16": "bfloat16"}[row["weight_precision"]] if dense else None,
        **experts,
    )
    return {"ttft_ms": found.ttft, "tpot_ms": found.tpot}


def main():
    warnings.simplefilter("ignore")
    questions = json.load(sys.stdin)
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        from aiconfigurator.cli.api import cli_default, cli_estimate

        logging.disable(logging.CRITICAL)
        start_s = time.perf_counter() - started
        answers = answered(questions["rows"], lambda row: estimate(cli_estimate, row))
        begun, ask = time.perf_counter(), questions["sweep"]
        if ask:
            cli_default(
                model_path=MODELS[ask["model"]], total_gpus=ask["gpus"], system=SYSTEMS[ask["gpu"]], backend=BACKENDS[ask["engine"]],
                isl=ask["isl"], osl=ask["osl"], ttft=ask["ttft_ms"], tpot=ask["tpot_ms"],
            )  # fmt: skip
    sweep_s = time.perf_counter() - begun if ask else None
    print(json.dumps({"start_s": start_s, "answers": answers, "sweep_s": sweep_s}))


main()
