"""One question to the performance model: a model's shape, a GPU, a layout, a load; as the numbers that the terms need."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from planner.catalogue.weight_bytes import WEIGHT_BYTES
from planner.performance.equations import CHOICE_S_PER_WORD


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a decoder-only transformer weighs, computes and remembers."""

    params: float
    """All parameters."""
    active_params: float
    """Those that one token uses; all of them in a dense model."""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    experts: int = 1
    experts_per_token: int = 1
    latent: int = 0
    """Values of MLA's one latent vector a layer (kv_lora_rank + qk_rope_head_dim); 0 for grouped-query attention."""
    full_attention: float = 1.0
    """Share of the layers that look at the whole context."""
    window: int = 0
    """Tokens that the other layers look at; 0 for linear attention."""

    @property
    def expert_params(self) -> float:
        """Routed experts' parameters: all = shared + E, active = shared + E k / experts."""
        if self.experts == 1:
            return 0.0
        return (self.params - self.active_params) / (1 - self.experts_per_token / self.experts)

    @property
    def attention_params(self) -> float:
        """Of the projections to queries, keys, values and back: the least that is no expert's and no table's."""
        return 2.0 * self.layers * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def kv_values_per_token(self) -> float:
        """Values that a token leaves in the cache of all layers, were each to look at the whole context."""
        return self.layers * (self.latent or 2 * self.kv_heads * self.head_dim)

    @property
    def shape(self) -> str:
        """What siblings share: layers x hidden x KV heads, and the experts."""
        return f"{self.layers}x{self.hidden}x{self.kv_heads}" + (f"e{self.experts}" if self.experts > 1 else "")

    @property
    def key(self) -> str:
        """What tells one architecture from its siblings: the shape, feed-forward and vocabulary."""
        return f"{self.shape}/{self.intermediate}/{self.vocab}"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the terms see it: data-sheet peaks."""

    family: str
    chip: str
    memory_bytes: float
    bandwidth: float
    """Bytes a second."""
    peaks: dict[str, float]
    """FLOP a second, dense, by precision of the multiplication: fp16 always, int8, fp8, fp4 where the chip has them."""
    link: float
    """Bytes a second to its neighbours, one direction."""
    link_kind: str
    """NVLink, PCIe or none of them known."""


@dataclass(frozen=True, kw_only=True)
class Question:
    architecture: Architecture
    gpu: Gpu
    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: int = 1
    weight_precision: str
    kv_precision: str
    input_tokens: float
    output_tokens: float
    concurrency: float
    kind: str
    """saturated, concurrency, batch or single, as the measurements name them."""
    engine: str
    generation: str
    era: str
    attention_replicas: int = 1
    """Groups of GPUs that each attend to their own requests (attention data parallel) and share the experts."""
    replicas: float = 1.0
    lengths_known: bool = True
    """Whether the input length is stated."""
    answer_known: bool = True
    """Whether the output length is stated."""
    load_unknown: bool = False
    """Whether the number of requests in flight is left open."""
    arrivals_per_s: float | None = None
    """Requests a second of an open loop, whose number in flight follows from the answer."""
    client: str = "closed loop"
    together: float = 0.0
    """Share of the requests that start at the same time as all others in flight: none of a service's users, whom nothing synchronises;
    benchmarks' clients differ (clients.py)."""
    admission_steps: float = 0.0
    """Steps for which the scheduler lets new requests wait."""
    most_running: float = 1e6
    """Requests that the server runs at once at most (vLLM's `max-num-seqs`); no limit unless it is known."""


PRECISIONS = tuple(WEIGHT_BYTES)
_ALSO_CALLED = {
    "float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "fp8-e4m3": "fp8", "fp8-e5m2": "fp8", "nvfp4": "fp4",
    "awq": "awq-int4", "int4-awq": "awq-int4", "gptq": "gptq-int4", "int4-gptq": "gptq-int4", "int8-gptq": "gptq-int8",
    "w4a16": "int4", "w8a16": "int8",
}  # fmt: skip


def precision_named(text: str) -> str:
    """The name used here for a precision as sources spell it: `FP8_E4M3`, `bfloat16`, `Q4_K_M`; text that names none as it is."""
    name = text.strip().lower()
    return name if name in WEIGHT_BYTES else _ALSO_CALLED.get(name.replace("_", "-"), text)


_KEEPS_16_BIT_ATTENTION = {"fp4", "mxfp4", "int4"}


def precision_class(precision: str) -> str:
    """Precisions that share fitted differences: 16, fp8, fp4, mxfp4, q8 (8-bit weights alone), q4 (fewer bits)."""
    if precision in ("fp16", "bf16", "fp32"):
        return "16"
    if precision in ("fp8", "fp4", "mxfp4"):
        return precision
    return "q8" if WEIGHT_BYTES[precision].read > 0.9 else "q4"


def multiplies_in(precision: str, gpu: Gpu) -> str:
    """The precision of the tensor cores' inputs. Weight-only formats are widened first."""
    if precision == "fp8" and "fp8" in gpu.peaks:
        return "fp8"
    if precision == "fp4" and "fp4" in gpu.peaks:
        return "fp4"
    if precision == "mxfp4" and "fp4" in gpu.peaks:
        return "fp8"
    return "fp16"


@dataclass(frozen=True, kw_only=True)
class Work:
    """A question's numbers, each a float here and an array of all rows in the fit."""

    layers: float
    hidden: float
    vocab: float
    tp: float
    pp: float
    doublings: float
    dense_bytes: float
    expert_bytes: float
    experts: float
    chosen: float
    dense_flops: float
    expert_flops: float
    head_flops: float
    attention_flops: float
    """FLOP of one token per token of context, all layers."""
    kv_bytes: float
    kv_copies: float
    full_attention: float
    window: float
    bandwidth: float
    peak: float
    peak16: float
    memory: float
    link: float
    moe: float
    latent: float
    """1 where the cache holds one latent vector a layer (MLA), which every step projects anew."""
    several: float
    isl: float
    osl: float
    concurrency: float
    replicas: float
    sharing: float
    """Attention replicas among which the experts are spread."""
    together: float
    admission_steps: float
    most_running: float
    answer_held: float
    """Of a request's answer, the share of its cache that is taken while it runs, on average: all where it is reserved beforehand."""
    closed: float
    """1 where a request follows an answer, 0 where requests arrive at a rate of their own: those meet no burst."""
    choice_s_per_word: float
    """Of a thread on the host that chooses all tokens; 0 where the GPU chooses them."""
    log_concurrency: float
    log_isl: float
    log_osl: float
    log_gpus: float
    log_size: float
    keys: dict[str, str] = field(default_factory=dict)


_LATENT_HEAD_DIM = 160
"""Of MLA while it reads a prompt: the mean of 128 + 64 for queries and keys and of 128 for values (DeepSeek-V3, arXiv 2412.19437)."""


def work(q: Question) -> Work:
    """The numbers and the levels of a question."""
    a, gpu = q.architecture, q.gpu
    bytes_per_weight = WEIGHT_BYTES[q.weight_precision].read
    table = a.vocab * a.hidden
    expert = a.expert_params
    dense = max(a.params - expert - 2 * table, a.attention_params)
    active_experts = expert * a.experts_per_token / a.experts
    dense_bytes_per_weight = 2.0 if a.experts > 1 and q.weight_precision in _KEEPS_16_BIT_ATTENTION else bytes_per_weight
    head_bytes = table * (2.0 if bytes_per_weight < 2 else bytes_per_weight)
    tp = q.tensor_parallel
    return Work(
        layers=float(a.layers),
        hidden=float(a.hidden),
        vocab=float(a.vocab),
        tp=float(tp),
        pp=float(q.pipeline_parallel),
        doublings=math.log2(tp),
        dense_bytes=dense * dense_bytes_per_weight + head_bytes,
        expert_bytes=expert * bytes_per_weight / q.attention_replicas,
        experts=float(a.experts),
        chosen=float(a.experts_per_token),
        dense_flops=2 * dense,
        expert_flops=2 * active_experts,
        head_flops=2.0 * table,
        attention_flops=4.0 * a.layers * a.heads * (_LATENT_HEAD_DIM if a.latent else a.head_dim),
        kv_bytes=a.kv_values_per_token * (1.0 if q.kv_precision == "fp8" else 2.0),
        kv_copies=1.0 if a.latent else 1.0 / min(tp, a.kv_heads),
        full_attention=a.full_attention,
        window=float(a.window),
        bandwidth=gpu.bandwidth,
        peak=gpu.peaks[multiplies_in(q.weight_precision, gpu)],
        peak16=gpu.peaks["fp16"],
        memory=gpu.memory_bytes,
        link=gpu.link,
        moe=float(a.experts > 1),
        latent=float(a.latent > 0),
        several=float(tp > 1),
        isl=float(q.input_tokens),
        osl=float(q.output_tokens),
        concurrency=_of_a_replica(q.concurrency, q.attention_replicas),
        together=q.together,
        most_running=q.most_running,
        replicas=q.replicas * q.attention_replicas,
        sharing=float(q.attention_replicas),
        admission_steps=q.admission_steps,
        # TensorRT-LLM's default, GUARANTEED_NO_EVICT, admits a request only with room for its whole answer.
        answer_held=1.0 if q.engine == "trt" else 0.5,
        closed=float(q.arrivals_per_s is None),
        choice_s_per_word=CHOICE_S_PER_WORD.get(q.engine, 0.0),
        log_concurrency=_log_concurrency(q.concurrency),
        log_isl=math.log2(q.input_tokens) / 4 - 2.5,
        log_osl=math.log2(q.output_tokens) / 4 - 2.25,
        log_gpus=math.log2(tp * q.pipeline_parallel * q.attention_replicas) / 2,
        log_size=math.log2(a.active_params / 20e9) / 3,
        keys=_keys(q),
    )


def under(w: Work, concurrency: float) -> Work:
    """The same with another number of requests in flight."""
    # Without the constructor: a search makes hundreds, and it takes longer than the equations.
    made = object.__new__(Work)
    loads = {"concurrency": _of_a_replica(concurrency, w.sharing), "log_concurrency": _log_concurrency(concurrency)}
    made.__dict__.update(w.__dict__ | loads)
    return made


def _of_a_replica(concurrency: float, attention_replicas: float) -> float:
    return max(concurrency / attention_replicas, 1.0)


def _log_concurrency(concurrency: float) -> float:
    return math.log2(concurrency) / 4 - 1


def _keys(q: Question) -> dict[str, str]:
    a, gpu = q.architecture, q.gpu
    shape, own = a.shape, a.key
    precision = precision_class(q.weight_precision)
    variety = "mla" if a.latent else "moe" if a.experts > 1 else "dense"
    return {
        "all": "",
        "chip": gpu.chip,
        "family": gpu.family,
        "engine": q.engine,
        "generation": q.generation,
        "era": q.era,
        "precision": precision,
        "variety": variety,
        "shape": shape,
        "architecture": own,
        "shape,engine": f"{shape},{q.engine}",
        "client": q.client,
        "client,engine": f"{q.client},{q.engine}",
        "link": gpu.link_kind,
        "parallel": ("ep" if q.expert_parallel > 1 else "") + ("dp" if q.attention_replicas > 1 else ""),
        "chip,precision": f"{gpu.chip},{precision}",
        "engine,precision": f"{q.engine},{precision}",
        "engine,variety": f"{q.engine},{variety}",
        "generation,variety": f"{q.generation},{variety}",
        "family,era": f"{gpu.family},{q.era}",
        "family,engine": f"{gpu.family},{q.engine}",
        "architecture,engine": f"{own},{q.engine}",
        "architecture,era": f"{own},{q.era}",
        "architecture,precision": f"{own},{precision}",
        "family,precision": f"{gpu.family},{precision}",
        "combination": f"{own}|{gpu.family}|{q.engine}",
    }
