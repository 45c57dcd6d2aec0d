"""Measures how long vLLM's steps take on this GPU, with and without a prompt to read: what its operations alone do not explain.

    vllm/bin/python bench/gpu/steps.py --out steps.csv

The engines of all arms start side by side, then one after another is measured while the others wait. Each has the limits of a server
(1,024 sequences, 8,192 tokens a step) and a cache of 8 GiB. While a number of sequences are answered, the engine's outputs are counted:
first without prompts, then with a prompt of one length before every fourth step, so that `added_ms` is what the step of such a prompt takes
longer than the others. Weights are vLLM's dummies, as the host's time is asked, which does not depend on them; models with experts have a
third of their layers.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# In place of this script's own folder, whose vllm.py would hide the engine.
sys.path[0] = str(Path(__file__).parents[2])
from bench.gpu.checkpoint import QUANTIZATION  # noqa: E402

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 8192, "rope_theta": 500_000.0, "rms_norm_eps": 1e-5,
    "bos_token_id": 1, "eos_token_id": 1, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_MOE = LLAMA | {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_hidden_layers": 16, "num_key_value_heads": 4, "vocab_size": 151936, "num_experts": 128,
    "num_experts_per_tok": 8, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "rope_theta": 1e6,
}  # fmt: skip
ARMS = {
    "llama-3-8b bf16": (LLAMA, "F16", "auto"),
    "llama-3-8b fp8": (LLAMA, "FP8", "fp8"),
    "llama-3-8b int8": (LLAMA, "INT8", "fp8"),
    "llama-3-8b int4": (LLAMA, "INT4", "fp8"),
    "qwen3-30b-a3b bf16": (QWEN3_MOE, "F16", "auto"),
}
SEQUENCES = (1, 8, 32, 100, 256)
PROMPTS = (32, 256, 1024, 4096)
WITHOUT, ROUNDS, EVERY = 24, 6, 4
FIELDS = ("arm", "layers", "sequences", "step_ms", "prompt_tokens", "added_ms")


class Engine:
    """vLLM's engine in a process of its own, as a server runs it, without the server."""

    def __init__(self, folder: str, cache: str) -> None:
        from vllm import EngineArgs, SamplingParams
        from vllm.v1.engine.llm_engine import LLMEngine

        self._sampling = SamplingParams
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=folder,
                skip_tokenizer_init=True,
                load_format="dummy",
                kv_cache_dtype=cache,
                max_model_len=8192,
                max_num_seqs=1024,
                max_num_batched_tokens=8192,
                kv_cache_memory_bytes=8 << 30,
                gpu_memory_utilization=0.1,
                disable_log_stats=True,
                enable_prefix_caching=False,
            )
        )
        self._ids = itertools.count()

    def add(self, prompt_tokens: int, output_tokens: int) -> str:
        name = str(next(self._ids))
        prompt = [2 + (31 * int(name) + position) % 30_000 for position in range(prompt_tokens)]
        how = self._sampling(max_tokens=output_tokens, ignore_eos=True, detokenize=False, temperature=0.0)
        self._engine.add_request(name, {"prompt_token_ids": prompt}, how)
        return name

    def outputs(self, steps: int) -> list[float]:
        """Returns the seconds between the outputs of that many steps."""
        times = [time.perf_counter()]
        while len(times) <= steps:
            if self._engine.step():
                times.append(time.perf_counter())
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def stop(self, names: list[str]) -> None:
        self._engine.abort_request(names)
        while self._engine.has_unfinished_requests():
            self._engine.step()


def measured(engine: Engine, arm: str, layers: int) -> list[dict[str, Any]]:
    rows = []
    for sequences in SEQUENCES:
        names = [engine.add(32, 4000) for _ in range(sequences)]
        engine.outputs(12)
        alone = statistics.median(engine.outputs(WITHOUT))
        for prompt in PROMPTS:
            added = []
            for _ in range(ROUNDS):
                names.append(engine.add(prompt, 1))
                added.append(sum(engine.outputs(EVERY)) - EVERY * alone)
            row = (arm, layers, sequences, f"{1e3 * alone:.3f}", prompt, f"{1e3 * statistics.median(added):.3f}")
            rows.append(dict(zip(FIELDS, row, strict=True)))
        engine.stop(names)
    return rows


def child(arm: str, folder: str) -> None:
    """Starts one arm's engine, says so, and measures once a line comes."""
    config, _precision, cache = ARMS[arm]
    engine = Engine(folder, cache)
    print("READY", flush=True)
    sys.stdin.readline()
    print("ROWS " + json.dumps(measured(engine, arm, int(str(config["num_hidden_layers"])))), flush=True)


def started(arm: str, work: Path) -> subprocess.Popen:
    config, precision, _cache = ARMS[arm]
    folder = work / arm.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    quantized = {"quantization_config": QUANTIZATION[precision]} if QUANTIZATION[precision] else {}
    (folder / "config.json").write_text(json.dumps(config | quantized))
    with (work / f"{folder.name}.log").open("w") as log:
        command = [sys.executable, __file__, "--arm", arm, "--folder", str(folder)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)


def answer(process: subprocess.Popen, word: str) -> str | None:
    """Returns the rest of the first line that begins with a word; None if the process ended without it."""
    return next((line[len(word) :].strip() for line in process.stdout or () if line.startswith(word)), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("steps.csv"), help="the CSV file to write")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        child(options.arm, options.folder)
        return 0
    work = options.out.resolve().parent / "steps"
    work.mkdir(parents=True, exist_ok=True)
    processes = {arm: started(arm, work) for arm in ARMS}
    ready = [arm for arm, process in processes.items() if answer(process, "READY") is not None]
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for arm in ready:
            process = processes[arm]
            print("go", file=process.stdin, flush=True)
            rows = answer(process, "ROWS")
            writer.writerows(json.loads(rows) if rows else [])
            file.flush()
            process.terminate()
    for process in processes.values():
        process.terminate()
    return 0 if len(ready) == len(ARMS) else 1


if __name__ == "__main__":
    sys.exit(main())
