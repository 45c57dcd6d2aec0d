# /// script
# requires-python = ">=3.11"
# dependencies = ["servcalc==0.1.0"]
# ///
"""Answers questions with servcalc (one GPU, dense models under vLLM); `bench/planner_vs_peers.py` describes its input and output."""

import json
import sys
import time

from answering import answered

GPUS = {"H100": "H100 80GB", "H200": "H200", "A100": "A100 80GB"}
QUANTS = {"fp8": "fp8", "bf16": None, "fp16": None}


def estimate(servcalc, profiles, workload, row):
    if row["tp"] > 1 or row["moe"] or row["engine"] != "vLLM":
        raise ValueError("one GPU, a dense model, vLLM only")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": row["hidden"], "num_hidden_layers": row["layers"],
        "num_attention_heads": row["heads"], "num_key_value_heads": row["kv_heads"], "intermediate_size": row["intermediate"],
        "vocab_size": row["vocab"], "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    profile = profiles.vllm(quant=QUANTS[row["weight_precision"]])
    asked = workload.Workload(row["isl"], row["osl"], (row["concurrency"],))
    point = servcalc.estimate(config, GPUS[row["gpu"]], workload=asked, profile=profile).points[0]
    if not point.feasible:
        raise ValueError(str(point.infeasible_reason))
    return {"ttft_ms": point.ttft_ms.mid, "tpot_ms": point.itl_ms.mid}


def main():
    questions = json.load(sys.stdin)
    started = time.perf_counter()
    from servcalc import estimate as servcalc
    from servcalc import profiles, workload

    if callable(servcalc):
        servcalc = sys.modules["servcalc.estimate"]
    start_s = time.perf_counter() - started
    answers = answered(questions["rows"], lambda row: estimate(servcalc, profiles, workload, row))
    print(json.dumps({"start_s": start_s, "answers": answers, "sweep_s": None}))


main()
