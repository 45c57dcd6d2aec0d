"""A row of measurements, or of questions in the same columns, as a `Question`; and what no machine can run."""

from __future__ import annotations

import csv
import math
import re
from functools import cache
from pathlib import Path

from planner.performance import clients
from planner.performance.workload import PRECISIONS, Architecture, Gpu, Question, weight_bytes

DATA = Path(__file__).parent.parent / "data" / "performance"
_GIGA, _TERA = 1e9, 1e12
_PCIE_GB_S = {"V100": 16.0, "A100": 32.0, "H100": 64.0}

DEFAULT_INPUT_TOKENS = 256.0
"""Of a row that does not state its input: a chat's question. Its time to first token is not answered."""

DEFAULT_SATURATED = 256.0
MOST_CONCURRENCY = 100_000
MOST_TOKENS = 10_000_000
COLUMNS = (
    "engine", "engine_version", "params_b", "layers", "hidden", "heads", "kv_heads", "intermediate", "vocab", "gpu", "tp", "pp",
    "weight_precision", "isl", "osl", "concurrency_or_batch", "kind",
)  # fmt: skip
"""Columns that a row must have; the rest of the measurements' columns may be left out."""

_WAYS = {"batch": "static", "single": "static", "saturated": "load", "concurrency": "serve"}
_NEEDS = {"fp8": "fp8", "fp4": "fp4"}
_ENGINES = (
    ("vllm (splitwise", "splitwise"), ("tensorrt-llm (mlperf", "mlperf"), ("vllm", "vllm"), ("tensorrt", "trt"), ("sglang", "sglang"),
    ("fastertransformer", "ft"), ("llama.cpp", "llama.cpp"), ("deepspeed-mii", "mii"), ("deepspeed", "deepspeed"),
    ("lmdeploy", "lmdeploy"), ("hf", "hf"), ("sat", "sat"), ("mlc", "mlc"), ("paddle", "paddle"), ("exllama", "exllama"),
)  # fmt: skip


class Impossible(ValueError):
    """A question that no machine can run, or that does not say enough; the text says why in one sentence."""


def number(row: dict[str, str], column: str, low: float, high: float, default: float | None = None) -> float:
    """A cell's number; raises Impossible outside the bounds, or where an empty cell has no default."""
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


def rows(name: str | Path) -> list[dict[str, str]]:
    """Rows of a CSV of `planner/data/performance`, or of an absolute path."""
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def families() -> dict[str, list[dict[str, str]]]:
    """Rows of `gpus.csv` by GPU family."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows("gpus.csv"):
        found.setdefault(row["family"], []).append(row)
    return found


def gpu(name: str, memory_gb: str = "", link: str = "") -> Gpu:
    """The GPU that a row names, as loosely as sources do: `H100`, `A100-SXM4-80GB`. Raises Impossible for an unknown one."""
    family = re.split(r"[-\s]", name.strip())[0]
    if family not in families():
        raise Impossible(f"unknown GPU {name!r}; known: {', '.join(families())}")
    size = memory_gb or next(iter(re.findall(r"(\d+)\s*GB", name)), "")
    form = "PCIe" if "PCI" in name.upper() else "NVL" if "NVL" in name else ""
    cards = families()[family]
    cards = [row for row in cards if row["memory_gb"] == size.split(".")[0]] or cards
    row = ([row for row in cards if row["form"] == form] or [row for row in cards if not row["form"]] or cards)[-1]
    link_gb_s = float(row["link_gb_s"])
    if link.startswith("PCIe"):
        link_gb_s = min(link_gb_s, _PCIE_GB_S.get(family, link_gb_s))
    return Gpu(
        family=family,
        chip=row["chip"],
        memory_bytes=int(row["memory_mib"]) * 2.0**20,
        bandwidth=float(row["bandwidth_gb_s"]) * _GIGA,
        peaks={p: float(row[f"{p}_tflops"]) * _TERA for p in ("fp16", "int8", "fp8", "fp4") if row[f"{p}_tflops"]},
        link=link_gb_s * _GIGA,
        link_kind="PCIe" if link_gb_s <= 64 else "IB" if "IB" in link else "NVLink",
    )


def architecture(row: dict[str, str]) -> Architecture:
    """The shape in a row's columns; experts, head size and attention windows stand in its notes. Raises Impossible."""
    notes = row.get("notes") or ""
    if not all(row.get(column) for column in ("params_b", "layers", "hidden", "heads", "vocab", "intermediate")):
        raise Impossible("the architecture's columns are empty: params_b, layers, hidden, heads, intermediate, vocab")
    params = number(row, "params_b", 1e-3, 1e5) * 1e9
    hidden, heads = _count(row, "hidden"), _count(row, "heads")
    moe = re.search(r"MoE (\d+)(?:\+\d+)? experts top-(\d+)[^;]*?([\d.]+)B active", notes)
    experts, chosen, active = (int(moe[1]), int(moe[2]), float(moe[3]) * 1e9) if moe else (1, 1, params)
    head_dim = re.search(r"head_dim (\d+)", notes)
    latent = moe and not row["kv_heads"]
    # Grouped-query attention whose groups differ by layer: about two KV heads on average (DeciLM-7B: 67 in 32 layers).
    unstated = 2 if "variable GQA" in notes else heads
    full, window = (0.25, 0) if "full attention 1 layer in 4" in notes else (0.0, 2048) if "sparse attention" in notes else (1.0, 0)
    if "gpt-oss" in (row.get("model") or ""):
        full, window = 0.5, 128
    return Architecture(
        params=params,
        active_params=min(active, params),
        layers=_count(row, "layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=1 if latent else _count(row, "kv_heads", default=unstated),
        head_dim=int(head_dim[1]) if head_dim else max(hidden // heads, 1),
        intermediate=_count(row, "intermediate"),
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
    """Engine, its generation and its era: what measurements of one kind by near versions share."""
    name, text, date = row["engine"].lower(), row.get("engine_version") or "", row.get("source_date") or ""
    engine = next((key for prefix, key in _ENGINES if name.startswith(prefix)), "other")
    # Where the input length is not stated, the source measured energy at a steady batch, not a benchmark's fixed lengths.
    way = "energy" if kind == "concurrency" and not row["isl"] else _WAYS[kind]
    found = re.match(r"(\d+)\.(\d+)", text)
    version = (int(found[1]), int(found[2])) if found else None
    generation = engine
    stamp = found[0] if found else "" if engine == "llama.cpp" else date[:7]
    if engine == "trt":
        generation = _tensorrt_generation(name, version)
    elif engine == "vllm":
        generation = "vllm-0" if way == "static" or (version and version < (0, 8)) else "vllm-1"
        if generation == "vllm-0":
            stamp = "0.6" if text.startswith("0.6") else "0.5"
    elif engine == "sglang" and found:
        stamp = re.match(r"[\d.]+", text)[0].rstrip(".")
    return engine, f"{generation}-{way}", f"{generation}-{way}-{stamp}"


def check(q: Question) -> None:
    """Raises Impossible where no machine could run the question: precision, heads, memory."""
    a, card = q.architecture, q.gpu
    if q.weight_precision not in PRECISIONS:
        raise Impossible(f"unknown precision {q.weight_precision!r}; known: {', '.join(PRECISIONS)}")
    needs = _NEEDS.get(q.weight_precision)
    if needs and needs not in card.peaks:
        runs = [p for p in ("fp16", "fp8", "int8", "int4") if p in ("fp16", "int4") or p in card.peaks]
        raise Impossible(f"{card.family} has no {needs.upper()} tensor cores; {', '.join(runs)} would run")
    if a.heads % q.tensor_parallel:
        raise Impossible(f"tensor parallel {q.tensor_parallel} does not divide {a.heads} attention heads")
    if q.pipeline_parallel > a.layers:
        raise Impossible(f"pipeline parallel {q.pipeline_parallel} exceeds {a.layers} layers")
    gpus = q.tensor_parallel * q.pipeline_parallel * q.attention_replicas
    weights = a.params * weight_bytes(q.weight_precision)
    if weights > gpus * card.memory_bytes:
        raise Impossible(f"weights of {weights / 1e9:.0f} GB do not fit {gpus} GPUs of {card.memory_bytes / 1e9:.0f} GB")


def _layout(row: dict[str, str]) -> tuple[int, int, int]:
    """Tensor parallel of attention, its replicas that share the experts, expert parallel."""
    notes, tp = row.get("notes") or "", _count(row, "tp", 1024)
    experts = re.search(r"moe_tp (\d+) moe_ep (\d+)", notes)
    if re.search(r"DEP\d", notes):
        return 1, tp, tp
    if not experts:
        return tp, 1, 1
    spread = int(experts[1]) * int(experts[2])
    return tp, max(spread // tp, 1), int(experts[2])


def question(row: dict[str, str]) -> Question:
    """Raises Impossible with one sentence where the row is malformed or cannot run."""
    if any(row.get(column) is None for column in COLUMNS):
        raise Impossible(f"malformed row; without {', '.join(c for c in COLUMNS if row.get(c) is None)}")
    kind, notes = row["kind"], row.get("notes") or ""
    if kind not in _WAYS:
        raise Impossible(f"unknown kind {kind!r}; known: {', '.join(_WAYS)}")
    engine, generation, era = engine_keys(row, kind)
    tp, attention_replicas, expert_parallel = _layout(row)
    replicas = re.search(r"= (\d+) replicas", notes)
    burst = re.search(r"(\d+)-request burst", notes)
    arrivals = re.search(r"request rate ([\d.]+) req/s", notes)
    load = float(burst[1]) if burst else DEFAULT_SATURATED if kind == "saturated" else 1.0
    precision = row["weight_precision"]
    # NVIDIA's documents: FP8 and FP4 checkpoints of TensorRT-LLM come with an FP8 cache.
    sent = clients.client(row)
    eight_bits = precision in ("fp8", "fp4") and (engine == "trt" or sent.caches_in_8_bits)
    kv = row.get("kv_precision") or ("fp8" if eight_bits else "fp16")
    concurrency = max(number(row, "concurrency_or_batch", 1e-3, MOST_CONCURRENCY, load), 1.0)
    made = Question(
        architecture=architecture(row),
        gpu=gpu(row["gpu"], row.get("gpu_memory_gb") or "", row.get("gpu_link") or ""),
        tensor_parallel=tp,
        pipeline_parallel=_count(row, "pp", 1024),
        expert_parallel=expert_parallel,
        attention_replicas=attention_replicas,
        replicas=float(replicas[1]) if replicas else 1.0,
        weight_precision=precision,
        kv_precision=kv,
        input_tokens=number(row, "isl", 1, MOST_TOKENS, DEFAULT_INPUT_TOKENS) * sent.mean_length,
        output_tokens=max(number(row, "osl", 1, MOST_TOKENS, 2.0) * sent.mean_length, 2.0),
        concurrency=concurrency,
        kind=kind,
        engine=engine,
        generation=generation,
        era=era,
        lengths_known=bool(row["isl"]),
        answer_known=bool(row["osl"]),
        load_unknown=not row["concurrency_or_batch"] and not burst,
        arrivals_per_s=float(arrivals[1]) if arrivals else None,
        client=sent.name,
        admission_steps=clients.steps_between_admissions(row, engine, tp, concurrency),
    )
    check(made)
    return made
