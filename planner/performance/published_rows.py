"""Turns a row of measurements, or of questions in the same columns, into a `Question`, and refuses what no machine can run."""

from __future__ import annotations

import math
import re

from planner.catalogue.weight_bytes import WEIGHT_BYTES
from planner.performance import clients
from planner.performance.csv_rows import COLUMNS, TOO_MANY, Impossible
from planner.performance.gpu_cards import gpu_named
from planner.performance.questions import PRECISIONS, Architecture, Question, precision_named

OUR_OWN = "this repository"
"""The source of rows that `bench/gpu` measured."""

DEFAULT_INPUT_TOKENS = 256.0
"""The input length of a row that does not state it, that of a chat's question. Its time to first token is not estimated."""

DEFAULT_SATURATED = 256.0
"""The requests in flight of a saturated row that does not state them."""
MOST_CONCURRENCY = 100_000
MOST_TOKENS = 10_000_000
_WAYS = {"batch": "static", "single": "static", "saturated": "load", "concurrency": "serve"}
_NEEDS = {"fp8": "fp8", "fp4": "fp4"}
_ENGINES = (
    ("vllm (splitwise", "splitwise"), ("tensorrt-llm (mlperf", "mlperf"), ("vllm", "vllm"), ("tensorrt", "trt"), ("sglang", "sglang"),
    ("fastertransformer", "ft"), ("llama.cpp", "llama.cpp"), ("deepspeed-mii", "mii"), ("deepspeed", "deepspeed"),
    ("trt", "trt"), ("llama-cpp", "llama.cpp"), ("llama_cpp", "llama.cpp"), ("llamacpp", "llama.cpp"),
    ("lmdeploy", "lmdeploy"), ("hf", "hf"), ("sat", "sat"), ("mlc", "mlc"), ("paddle", "paddle"), ("exllama", "exllama"),
)  # fmt: skip


def number(row: dict[str, str], column: str, low: float, high: float, default: float | None = None) -> float:
    """Returns a cell's number. Raises Impossible outside the bounds, or for an empty cell without a default."""
    cell = (row.get(column) or "").strip()
    if not cell and default is not None:
        return default
    try:
        value = float(cell)
    except ValueError:
        raise Impossible(f"{column}: {cell!r} is no number") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise Impossible(f"{column} {cell}: between {low:g} and {high:g}")
    return value


def _count(row: dict[str, str], column: str, high: float = 1e9, default: float | None = None) -> int:
    value = number(row, column, 1, high, default)
    if value != int(value):
        raise Impossible(f"{column} {value:g}: a whole number")
    return int(value)


def _within(what: str, text: str, least: int, most: int) -> int:
    """A whole number in the notes. Raises Impossible outside the bounds."""
    if not least <= int(text) <= most:
        raise Impossible(f"notes: {what} {text}: between {least} and {most}")
    return int(text)


_NUMBER = r"(\d+(?:\.\d+)?)"
_EXPERTS = r"(\d+)(?: ?\+ ?\d+)?(?: routed)? experts\b"
_CHOSEN = r"top[- ]?(\d+)|(\d+)(?: experts)? (?:active|activated|per token)\b"
_ACTIVE = rf"{_NUMBER} ?B (?:params |parameters )?activ|activ\w*(?: params| parameters)?:? {_NUMBER} ?B"


def _experts(notes: str, params: float, of_one: float) -> tuple[int, int, float]:
    """Returns the routed experts, the experts per token and the active parameters; 1, 1 and all for a dense model.

    The active parameters are those that the notes state, otherwise all but the experts that a token does not use; one expert has `of_one`
    parameters. Raises Impossible where the notes do not state the number of experts.
    """
    if not re.search(r"\bMoE\b|\bexperts\b", notes, re.IGNORECASE):
        return 1, 1, params
    matches = [re.search(pattern, notes, re.IGNORECASE) for pattern in (_EXPERTS, _CHOSEN, _ACTIVE)]
    routed, per_token, active = (next(filter(None, match.groups())) if match else None for match in matches)
    if routed is None or per_token is None:
        raise Impossible("notes: a mixture of experts without their numbers; write them as in `MoE 8 experts top-2, 12.9B active`")
    experts = _within("experts", routed, 2, 65_536)
    chosen = _within("top", per_token, 1, experts - 1)
    return experts, chosen, float(active) * 1e9 if active else params - of_one * (experts - chosen)


def architecture(row: dict[str, str]) -> Architecture:
    """Returns the architecture in a row's columns and, for experts, head size and attention windows, in its notes. Raises Impossible."""
    notes = row.get("notes") or ""
    if not all(row.get(column) for column in ("params_b", "layers", "hidden", "heads", "vocab", "intermediate")):
        raise Impossible("the architecture's columns are empty: params_b, layers, hidden, heads, intermediate, vocab")
    params = number(row, "params_b", 1e-3, 1e5) * 1e9
    hidden, heads = _count(row, "hidden"), _count(row, "heads")
    layers, intermediate = _count(row, "layers"), _count(row, "intermediate")
    experts, chosen, active = _experts(notes, params, 3.0 * hidden * intermediate * layers)
    head_dim = re.search(r"head_dim (\d+)", notes)
    latent = experts > 1 and not row["kv_heads"]
    # With grouped-query attention whose groups differ by layer, there are about two KV heads on average (DeciLM-7B: 67 in 32 layers).
    usual_kv_heads = 2 if "variable GQA" in notes else heads
    hybrid = re.search(r"full attention (?:in )?1 (?:layer )?(?:in|of) (\d+)", notes)
    full, window = (
        (1 / _within("full attention 1 layer in", hybrid[1], 1, 1000), 0)
        if hybrid
        else (0.0, 2048)
        if "sparse attention" in notes
        else (1.0, 0)
    )
    if "gpt-oss" in (row.get("model") or ""):
        full, window = 0.5, 128
    return Architecture(
        params=params,
        active_params=active,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=1 if latent else _count(row, "kv_heads", default=usual_kv_heads),
        head_dim=_within("head_dim", head_dim[1], 1, 65_536) if head_dim else max(hidden // heads, 1),
        intermediate=intermediate,
        vocab=_count(row, "vocab"),
        experts=experts,
        experts_per_token=chosen,
        latent=576 if latent else 0,
        full_attention=full,
        window=window,
    )


def _tensorrt_generation(name: str, version: tuple[int, int] | None) -> str:
    if "triton" in name:
        return "trt-triton"
    if version is None or version == (1, 0):
        return "trt-1.0"
    if version < (0, 10):
        return "trt-0.5"
    return "trt-0.10" if version == (0, 10) else "trt-0.11" if version < (1, 0) else "trt-1.1"


def engine_keys(row: dict[str, str], kind: str) -> tuple[str, str, str]:
    """Returns the engine, its generation and its era, which measurements of one kind by similar versions share."""
    name, text, date = row["engine"].lower(), row.get("engine_version") or "", row.get("source_date") or ""
    engine = next((key for prefix, key in _ENGINES if name.startswith(prefix)), "other")
    # Sources that do not state the input length measured energy at a steady batch, not a benchmark with fixed lengths.
    way = "energy" if kind == "concurrency" and not row["isl"] else _WAYS[kind]
    numbers = re.match(r"(\d+)\.(\d+)", text)
    version = (int(numbers[1]), int(numbers[2])) if numbers else None
    generation = engine
    stamp = numbers[0] if numbers else "" if engine == "llama.cpp" else date[:7]
    if engine == "trt":
        generation = _tensorrt_generation(name, version)
    elif engine == "vllm":
        generation = "vllm-0" if way == "static" or (version and version < (0, 8)) else "vllm-1"
        if generation == "vllm-0":
            stamp = "0.6" if text.startswith("0.6") else "0.5"
    elif engine == "sglang" and numbers and (release := re.match(r"[\d.]+", text)):
        stamp = release[0].rstrip(".")
    return engine, f"{generation}-{way}", f"{generation}-{way}-{stamp}"


def _gb(size: float) -> str:
    """Writes a size in GB, exactly enough to compare two similar ones."""
    return f"{size / 1e9:,.0f} GB" if size >= 1e11 else f"{size / 1e9:.1f} GB"


def check(question: Question) -> None:
    """Raises Impossible where no machine could run the question, because of its precision, its heads or its memory."""
    architecture, gpu_figures = question.architecture, question.gpu
    if question.weight_precision not in PRECISIONS:
        raise Impossible(f"unknown precision {question.weight_precision!r}; known: {', '.join(PRECISIONS)}")
    if not 0 < architecture.active_params <= architecture.params:
        raise Impossible(f"{architecture.active_params / 1e9:g}B active of {architecture.params / 1e9:g}B parameters")
    needs = _NEEDS.get(question.weight_precision)
    if needs and needs not in gpu_figures.peaks:
        runs = [
            precision for precision in ("fp16", "fp8", "int8", "int4") if precision in ("fp16", "int4") or precision in gpu_figures.peaks
        ]
        raise Impossible(f"{gpu_figures.family} has no {needs.upper()} tensor cores; {', '.join(runs)} would run")
    if architecture.heads % question.tensor_parallel:
        raise Impossible(f"tensor parallel {question.tensor_parallel} does not divide {architecture.heads} attention heads")
    if question.pipeline_parallel > architecture.layers:
        raise Impossible(f"pipeline parallel {question.pipeline_parallel} exceeds {architecture.layers} layers")
    gpus = question.tensor_parallel * question.pipeline_parallel * question.attention_replicas
    weights = architecture.params * WEIGHT_BYTES[question.weight_precision].read
    if weights > gpus * gpu_figures.memory_bytes:
        count = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise Impossible(f"weights of {_gb(weights)} do not fit {count} of {_gb(gpu_figures.memory_bytes)}")


def _layout(row: dict[str, str]) -> tuple[int, int, int]:
    """Returns the tensor parallelism of attention, the attention replicas that share the experts, and the expert parallelism."""
    notes, tp = row.get("notes") or "", _count(row, "tp", 1024)
    experts = re.search(r"moe_tp (\d+) moe_ep (\d+)", notes)
    if re.search(r"DEP\d", notes):
        return 1, tp, tp
    if not experts:
        return tp, 1, 1
    parts, expert_parallel = _within("moe_tp", experts[1], 1, 1024), _within("moe_ep", experts[2], 1, 1024)
    return tp, max(parts * expert_parallel // tp, 1), expert_parallel


def _kv_precision(cell: str) -> str:
    """Returns fp16 or fp8, as only the bytes of a value count; an empty text where the engine decides."""
    name = precision_named(cell)
    if cell.lower() in ("", "auto"):
        return ""
    if name not in ("fp16", "bf16", "fp8", "int8", "q8_0"):
        raise Impossible(f"unknown kv_precision {cell!r}; known: fp16, fp8")
    return "fp16" if name in ("fp16", "bf16") else "fp8"


def question(row: dict[str, str]) -> Question:
    """Returns the question that a row asks. Raises Impossible with one sentence where the row is malformed or no machine can run it."""
    if TOO_MANY in row:
        raise Impossible(
            f"malformed row; {row[TOO_MANY]} cells, more than the first line has: a comma inside a cell needs quotes around it"
        )
    if any(row.get(column) is None for column in COLUMNS):
        raise Impossible(f"malformed row; without {', '.join(column for column in COLUMNS if row.get(column) is None)}")
    row = {column: cell.strip() for column, cell in row.items() if isinstance(cell, str)}
    kind, notes = row["kind"].lower(), row.get("notes", "")
    if kind not in _WAYS:
        raise Impossible(f"unknown kind {kind!r}; known: {', '.join(_WAYS)}")
    engine, generation, era = engine_keys(row, kind)
    tp, attention_replicas, expert_parallel = _layout(row)
    replicas = re.search(r"= (\d+) replicas", notes)
    burst = re.search(r"(\d+)-request burst", notes)
    arrivals = re.search(rf"request rate {_NUMBER} req/s", notes)
    load = float(burst[1]) if burst else DEFAULT_SATURATED if kind == "saturated" else 1.0
    precision = precision_named(row["weight_precision"])
    # According to NVIDIA's documents, FP8 and FP4 checkpoints of TensorRT-LLM come with an FP8 cache.
    client = clients.client(row)
    eight_bits = precision in ("fp8", "fp4") and (engine == "trt" or client.caches_in_8_bits)
    kv = _kv_precision(row.get("kv_precision", "")) or ("fp8" if eight_bits else "fp16")
    concurrency = max(number(row, "concurrency_or_batch", 1e-3, MOST_CONCURRENCY, load), 1.0)
    overfull = clients.overfull(row, concurrency)
    concurrency, most_running = overfull or (concurrency, Question.most_running)
    asked = Question(
        architecture=architecture(row),
        gpu=gpu_named(row["gpu"], row.get("gpu_memory_gb") or "", row.get("gpu_link") or ""),
        tensor_parallel=tp,
        pipeline_parallel=_count(row, "pp", 1024),
        expert_parallel=expert_parallel,
        attention_replicas=attention_replicas,
        replicas=float(_within("replicas", replicas[1], 1, 100_000)) if replicas else 1.0,
        weight_precision=precision,
        kv_precision=kv,
        input_tokens=number(row, "isl", 1, MOST_TOKENS, DEFAULT_INPUT_TOKENS) * client.mean_length,
        output_tokens=max(number(row, "osl", 1, MOST_TOKENS, 2.0) * client.mean_length, 2.0),
        concurrency=concurrency,
        kind=kind,
        engine=engine,
        generation=generation,
        era=era,
        lengths_known=bool(row["isl"]),
        answer_known=bool(row["osl"]),
        load_unknown=not row["concurrency_or_batch"] and not burst,
        arrivals_per_s=float(arrivals[1]) if arrivals else None,
        client=client.name,
        together=client.together,
        most_running=most_running,
        admission_steps=clients.steps_between_admissions(row, engine, tp, concurrency),
    )
    check(asked)
    return asked
