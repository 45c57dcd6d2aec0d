"""The numbers of one question that the equations need: work, bytes and messages for each token and each step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from planner.catalogue.weight_bytes import WEIGHT_BYTES
from planner.performance.equations import CHOICE_S_PER_WORD
from planner.performance.questions import Question, multiplies_in, precision_class

_KEEPS_16_BIT_ATTENTION = {"fp4", "mxfp4", "int4"}


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """The numbers of a question. Each is a float here, and an array with one value per row in the fit."""

    layers: float
    hidden: float
    vocab: float
    tp: float
    """GPUs that share each layer (tensor parallelism)."""
    pp: float
    """Pipeline stages."""
    doublings: float
    """The binary logarithm of `tp`."""
    dense_bytes: float
    """Bytes of all weights but the routed experts'."""
    expert_bytes: float
    """Bytes of the routed experts, in one attention replica."""
    experts: float
    chosen: float
    """Routed experts that one token uses."""
    dense_flops: float
    """FLOP per token of the products with all weights but the routed experts' and the tables'."""
    expert_flops: float
    """FLOP per token of the products with its routed experts."""
    head_flops: float
    """FLOP per generated token of the output head."""
    attention_flops: float
    """FLOP of one token per token of context, in all layers."""
    kv_bytes: float
    """Bytes that a token leaves in the cache of all layers."""
    kv_copies: float
    """The share of a token's cache that one GPU holds."""
    full_attention: float
    window: float
    bandwidth: float
    """Bytes a second of one GPU's memory."""
    peak: float
    """FLOP a second of one GPU in the precision of the products."""
    peak16: float
    """FLOP a second of one GPU in 16 bits."""
    memory: float
    """Bytes of one GPU's memory."""
    link: float
    """Bytes a second between neighbours, in one direction."""
    moe: float
    """1 for a mixture of experts, otherwise 0."""
    latent: float
    """1 where the cache holds one latent vector in each layer (MLA), which every step projects again; otherwise 0."""
    several: float
    """1 where several GPUs share a layer, otherwise 0."""
    isl: float
    """Input tokens of a request."""
    osl: float
    """Output tokens of a request."""
    concurrency: float
    """Requests in flight in one attention replica."""
    replicas: float
    """Copies of the layout times attention replicas."""
    sharing: float
    """Attention replicas among which the experts are spread."""
    together: float
    admission_steps: float
    most_running: float
    answer_held: float
    """The share of an answer's cache that is taken on average while the request runs: 1 where it is reserved in advance."""
    closed: float
    """1 where a request follows an answer, 0 where requests arrive at a rate of their own, so that they meet no burst."""
    choice_s_per_word: float
    """Seconds per word and token of the host thread that chooses all tokens; 0 where the GPU chooses them."""
    log_concurrency: float
    """This and the next four are scaled logarithms, over which the corrections slope."""
    log_isl: float
    log_osl: float
    log_gpus: float
    log_size: float
    keys: dict[str, str] = field(default_factory=dict)
    """The level of each kind to which the question belongs, as the fitted differences are stored."""


_LATENT_HEAD_DIM = 160
"""MLA's head size while it reads a prompt: the mean of 128 + 64 for queries and keys and of 128 for values (DeepSeek-V3,
arXiv 2412.19437)."""


def model_inputs(question: Question) -> ModelInputs:
    """Returns the numbers and the levels of a question."""
    architecture, gpu = question.architecture, question.gpu
    bytes_per_weight = WEIGHT_BYTES[question.weight_precision].read
    table = architecture.vocab * architecture.hidden
    expert = architecture.expert_params
    dense = max(architecture.params - expert - 2 * table, architecture.attention_params)
    active_experts = expert * architecture.experts_per_token / architecture.experts
    dense_bytes_per_weight = 2.0 if architecture.experts > 1 and question.weight_precision in _KEEPS_16_BIT_ATTENTION else bytes_per_weight
    head_bytes = table * (2.0 if bytes_per_weight < 2 else bytes_per_weight)
    tp = question.tensor_parallel
    return ModelInputs(
        layers=float(architecture.layers),
        hidden=float(architecture.hidden),
        vocab=float(architecture.vocab),
        tp=float(tp),
        pp=float(question.pipeline_parallel),
        doublings=math.log2(tp),
        dense_bytes=dense * dense_bytes_per_weight + head_bytes,
        expert_bytes=expert * bytes_per_weight / question.attention_replicas,
        experts=float(architecture.experts),
        chosen=float(architecture.experts_per_token),
        dense_flops=2 * dense,
        expert_flops=2 * active_experts,
        head_flops=2.0 * table,
        attention_flops=4.0
        * architecture.layers
        * architecture.heads
        * (_LATENT_HEAD_DIM if architecture.latent else architecture.head_dim),
        kv_bytes=architecture.kv_values_per_token * (1.0 if question.kv_precision == "fp8" else 2.0),
        kv_copies=1.0 if architecture.latent else 1.0 / min(tp, architecture.kv_heads),
        full_attention=architecture.full_attention,
        window=float(architecture.window),
        bandwidth=gpu.bandwidth,
        peak=gpu.peaks[multiplies_in(question.weight_precision, gpu)],
        peak16=gpu.peaks["fp16"],
        memory=gpu.memory_bytes,
        link=gpu.link,
        moe=float(architecture.experts > 1),
        latent=float(architecture.latent > 0),
        several=float(tp > 1),
        isl=float(question.input_tokens),
        osl=float(question.output_tokens),
        concurrency=_per_replica(question.concurrency, question.attention_replicas),
        together=question.together,
        most_running=question.most_running,
        replicas=question.replicas * question.attention_replicas,
        sharing=float(question.attention_replicas),
        admission_steps=question.admission_steps,
        # TensorRT-LLM's default, GUARANTEED_NO_EVICT, admits a request only with room for its whole answer.
        answer_held=1.0 if question.engine == "trt" else 0.5,
        closed=float(question.arrivals_per_s is None),
        choice_s_per_word=CHOICE_S_PER_WORD.get(question.engine, 0.0),
        log_concurrency=_log_concurrency(question.concurrency),
        log_isl=math.log2(question.input_tokens) / 4 - 2.5,
        log_osl=math.log2(question.output_tokens) / 4 - 2.25,
        log_gpus=math.log2(tp * question.pipeline_parallel * question.attention_replicas) / 2,
        log_size=math.log2(architecture.active_params / 20e9) / 3,
        keys=_keys(question),
    )


def with_concurrency(inputs: ModelInputs, concurrency: float) -> ModelInputs:
    """Returns the same inputs with another number of requests in flight."""
    # The constructor is skipped: a search makes hundreds of copies, and it takes longer than the equations.
    copy = object.__new__(ModelInputs)
    loads = {"concurrency": _per_replica(concurrency, inputs.sharing), "log_concurrency": _log_concurrency(concurrency)}
    copy.__dict__.update(inputs.__dict__ | loads)
    return copy


def _per_replica(concurrency: float, attention_replicas: float) -> float:
    return max(concurrency / attention_replicas, 1.0)


def _log_concurrency(concurrency: float) -> float:
    return math.log2(concurrency) / 4 - 1


def _keys(question: Question) -> dict[str, str]:
    architecture, gpu = question.architecture, question.gpu
    shape, architecture_key = architecture.shape, architecture.key
    precision = precision_class(question.weight_precision)
    variety = "mla" if architecture.latent else "moe" if architecture.experts > 1 else "dense"
    return {
        "all": "",
        "chip": gpu.chip,
        "family": gpu.family,
        "engine": question.engine,
        "generation": question.generation,
        "era": question.era,
        "precision": precision,
        "variety": variety,
        "shape": shape,
        "architecture": architecture_key,
        "shape,engine": f"{shape},{question.engine}",
        "client": question.client,
        "client,engine": f"{question.client},{question.engine}",
        "link": gpu.link_kind,
        "parallel": ("ep" if question.expert_parallel > 1 else "") + ("dp" if question.attention_replicas > 1 else ""),
        "chip,precision": f"{gpu.chip},{precision}",
        "engine,precision": f"{question.engine},{precision}",
        "engine,variety": f"{question.engine},{variety}",
        "generation,variety": f"{question.generation},{variety}",
        "family,era": f"{gpu.family},{question.era}",
        "family,engine": f"{gpu.family},{question.engine}",
        "architecture,engine": f"{architecture_key},{question.engine}",
        "architecture,era": f"{architecture_key},{question.era}",
        "architecture,precision": f"{architecture_key},{precision}",
        "family,precision": f"{gpu.family},{precision}",
        "combination": f"{architecture_key}|{gpu.family}|{question.engine}",
    }
