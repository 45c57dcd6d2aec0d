"""How the client of a measurement sends its requests and how its servers schedule them, where the source's scripts are public.

InferenceMAX (now InferenceX; SemiAnalysis): `benchmarks/*.sh` of its forks, jyothisambolu/InferenceMAX @86d696cb (2025-10) and the copy in
ajith-sirra-amd/InferenceMAX_Rocm_Team @96e2b006 (2026-08). Only the scripts are used: none of its results is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Client:
    """What a row's numbers do not say about the client."""

    name: str
    mean_length: float = 1.0
    """The mean length over the stated length; InferenceMAX has `--random-range-ratio 0.8`, so uniform from 0.8 to 1."""
    together: float = 0.0
    """The share of requests that start at the same time as all others in flight; 0 where users are spread over an answer's time."""
    caches_in_8_bits: bool = False
    """Whether 8- and 4-bit checkpoints come with an 8-bit cache (`kv-cache-dtype: fp8`)."""


OWN = Client(name="closed loop")
"""The client of a question without a source: the requests in flight are each followed by the next, and do not start together."""

TEN_A_SLOT = 0.1
"""The share that starts together where a client opens all its slots at once and sends ten prompts in each (InferenceMAX:
`--num-prompts $(( $CONC * 10 ))`): the first of ten. It is assumed for other benchmarks whose clients open all slots at once."""

INFERENCEMAX = Client(name="closed loop", mean_length=0.9, together=TEN_A_SLOT, caches_in_8_bits=True)
GAP_ANALYSIS = Client(name="gap analysis", together=TEN_A_SLOT)
GAP_ANALYSIS_OF_NVIDIA = Client(name="gap analysis", together=TEN_A_SLOT, caches_in_8_bits=True)
"""The same with a checkpoint by NVIDIA, whose configuration asks for an 8-bit cache, which vLLM then uses (1CatAI/1Cat-vLLM#613)."""


SHAREGPT = Client(name="closed loop", together=TEN_A_SLOT)
"""lmdeploy's tables for ShareGPT's 3,000 prompts, which up to 256 threads begin to send at the same time."""

IN_STEP = Client(name="in step", together=1.0)
"""Requests of equal lengths that start together, end together, and start together again.

That is so in lmdeploy's tables for fixed lengths (InternLM/lmdeploy benchmark/profile_generation.py @01143d5a: each thread sends the same
request again and again), and for SGLang 0.5.1 in NVIDIA's gap analysis: no script of it is public, but its times to the first token are
half of all prefills.
"""


def client(row: dict[str, str]) -> Client:
    """Returns the client of a row, by the source that its notes state."""
    notes = row.get("notes") or ""
    if row["engine"].startswith("LMDeploy") and notes.startswith(("fixed concurrency", "ShareGPT")):
        return IN_STEP if notes.startswith("fixed") else SHAREGPT
    if row["engine"] == "SGLang" and (row.get("engine_version") or "").startswith("0.5.1.") and "gap-analysis" in notes:
        return IN_STEP
    if "InferenceMAX" in notes:
        return INFERENCEMAX
    if "gap-analysis" in notes:
        return GAP_ANALYSIS_OF_NVIDIA if "/nvidia_" in notes else GAP_ANALYSIS
    return OWN


_OVERFULL_RUNNING, _WAVES = 16, 10


def overfull(row: dict[str, str], concurrency: float) -> tuple[float, float] | None:
    """Returns the requests in flight and the running requests for InferenceMAX's gpt-oss on H100 in December 2025; None for other rows.

    Its script (ishandhanani/InferenceMAX benchmarks/gptoss_fp4_h100_docker.sh @d22bf9ca) gives the server `--max-num-seqs $CONC`, and the
    client `--num-prompts $(( $CONC * 10 )) --max-concurrency 512`: all prompts are sent at once and run in ten waves, so that on average
    4.5 waves are ahead of a request. Rows state the 512 but not CONC, which was 4 to 64: its middle is assumed.
    """
    sent_at_once = concurrency == 512 and row.get("source_date", "").startswith("2025-12") and client(row) is INFERENCEMAX
    if not sent_at_once or row["gpu"][:4] != "H100" or row.get("model") != "gpt-oss-120b" or row["engine"] != "vLLM":
        return None
    return _OVERFULL_RUNNING * (1 + (_WAVES - 1) / 2), _OVERFULL_RUNNING


def steps_between_admissions(row: dict[str, str], engine: str, tensor_parallel: int, concurrency: float) -> float:
    """Returns the steps for which InferenceMAX's servers let new requests wait; 0 where they check for them before each step.

    TensorRT-LLM, 70B, 1024 / 1024, fewer than 8 GPUs: `batch_wait_timeout_iters: 20`. SGLang on B200: `--scheduler-recv-interval` 10, and
    30 from 16 requests on (Qwen3.5 FP8: above 4).
    """
    if client(row) is not INFERENCEMAX:
        return 0.0
    if engine == "trt":
        short = row["isl"] == row["osl"] == "1024"
        return 20.0 if short and tensor_parallel < 8 and re.search(r"Llama-3\.\d-70B", row.get("model") or "") else 0.0
    if engine == "sglang" and "B200" in row["gpu"]:
        eager = "Qwen3.5" in (row.get("model") or "") and row["weight_precision"] == "fp8"
        return 30.0 if concurrency >= 16 or (eager and concurrency > 4) else 10.0
    return 0.0


def not_deployed(row: dict[str, str]) -> str:
    """Returns why the engines here never start such a server, so that the row answers no question; an empty text for other rows."""
    return "vLLM's second model runner" if "VLLM_USE_V2_MODEL_RUNNER=1" in (row.get("notes") or "") else ""
