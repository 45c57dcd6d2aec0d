"""One question to the performance model: a model's shape, a GPU, a layout and a load, and the numbers that the equations need."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.weight_bytes import WEIGHT_BYTES


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder-only transformer as the equations see it. The catalogue's `ModelShape` has the names of a config.json instead."""

    params: float
    """All parameters."""
    active_params: float
    """The parameters that one token uses; all of them in a dense model."""
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
    """Values of MLA's latent vector in each layer (kv_lora_rank + qk_rope_head_dim); 0 for grouped-query attention."""
    full_attention: float = 1.0
    """The share of layers that look at the whole context."""
    window: int = 0
    """The tokens that the other layers look at; 0 for linear attention."""

    @property
    def expert_params(self) -> float:
        """Parameters of the routed experts, E: all = shared + E, and active = shared + E x (experts per token) / experts."""
        if self.experts == 1:
            return 0.0
        return (self.params - self.active_params) / (1 - self.experts_per_token / self.experts)

    @property
    def attention_params(self) -> float:
        """Parameters of the projections to queries, keys, values and back: the least that belong to no expert and no table."""
        return 2.0 * self.layers * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def kv_values_per_token(self) -> float:
        """Values that a token leaves in the cache of all layers, if each layer looks at the whole context."""
        return self.layers * (self.latent or 2 * self.kv_heads * self.head_dim)

    @property
    def shape(self) -> str:
        """The part of the key that sibling architectures share: layers x hidden x KV heads, and the experts."""
        return f"{self.layers}x{self.hidden}x{self.kv_heads}" + (f"e{self.experts}" if self.experts > 1 else "")

    @property
    def key(self) -> str:
        """The key of one architecture: its shape, feed-forward and vocabulary."""
        return f"{self.shape}/{self.intermediate}/{self.vocab}"


@dataclass(frozen=True, kw_only=True)
class GpuFigures:
    """One GPU's figures from its data sheet, in the units of the equations."""

    family: str
    """The makers' name for such GPUs: V100, H100."""
    chip: str
    """The architecture: volta, hopper."""
    memory_bytes: float
    bandwidth: float
    """The memory bandwidth in bytes a second."""
    peaks: dict[str, float]
    """The dense peak in FLOP a second by precision of the multiplication: fp16 always, and int8, fp8, fp4 where the chip has them."""
    link: float
    """The bandwidth to its neighbours in one direction, in bytes a second."""
    link_kind: str
    """NVLink, PCIe or IB (InfiniBand)."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A model on a layout of GPUs under a load, as one engine serves it."""

    architecture: Architecture
    gpu: GpuFigures
    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: int = 1
    weight_precision: str
    kv_precision: str
    input_tokens: float
    output_tokens: float
    concurrency: float
    kind: str
    """saturated, concurrency, batch or single, as the measurements name it."""
    engine: str
    generation: str
    """What measurements by similar versions of an engine share: `vllm-1-serve`."""
    era: str
    """The generation with the version or the month: `vllm-1-serve-0.20`."""
    attention_replicas: int = 1
    """Groups of GPUs that each compute the attention of their own requests (attention data parallelism) and share the experts."""
    replicas: float = 1.0
    """Copies of the layout, each with its share of the requests."""
    lengths_known: bool = True
    """Whether the input length is stated."""
    answer_known: bool = True
    """Whether the output length is stated."""
    load_unknown: bool = False
    """Whether the number of requests in flight is not stated."""
    arrivals_per_s: float | None = None
    """Requests a second of an open loop; how many are in flight follows from the estimate."""
    client: str = "closed loop"
    """How the client sends its requests: a `clients.Client.name`."""
    together: float = 0.0
    """The share of requests that start at the same time as all others in flight. It is 0 for a service, whose users nothing synchronises;
    the clients of benchmarks differ (clients.py)."""
    admission_steps: float = 0.0
    """The steps for which the scheduler lets new requests wait."""
    most_running: float = 1e6
    """The most requests that the server runs at once (vLLM's `max-num-seqs`); without limit unless it is known."""


PRECISIONS = tuple(WEIGHT_BYTES)
_ALSO_CALLED = {
    "float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "fp8-e4m3": "fp8", "fp8-e5m2": "fp8", "nvfp4": "fp4",
    "awq": "awq-int4", "int4-awq": "awq-int4", "gptq": "gptq-int4", "int4-gptq": "gptq-int4", "int8-gptq": "gptq-int8",
    "w4a16": "int4", "w8a16": "int8",
}  # fmt: skip


def precision_named(text: str) -> str:
    """Returns the name used here for a precision as sources spell it: `FP8_E4M3`, `bfloat16`, `Q4_K_M`. Other text is returned
    unchanged."""
    name = text.strip().lower()
    return name if name in WEIGHT_BYTES else _ALSO_CALLED.get(name.replace("_", "-"), text)


def precision_class(precision: str) -> str:
    """Returns the class of precisions that share fitted differences: 16, fp8, fp4, mxfp4, q8 (8-bit weights only) or q4 (fewer bits)."""
    if precision in ("fp16", "bf16", "fp32"):
        return "16"
    if precision in ("fp8", "fp4", "mxfp4"):
        return precision
    return "q8" if WEIGHT_BYTES[precision].read > 0.9 else "q4"


def multiplies_in(precision: str, gpu: GpuFigures) -> str:
    """Returns the precision of the tensor cores' inputs. Formats that only compress the weights are widened first."""
    if precision == "fp8" and "fp8" in gpu.peaks:
        return "fp8"
    if precision == "fp4" and "fp4" in gpu.peaks:
        return "fp4"
    if precision == "mxfp4" and "fp4" in gpu.peaks:
        return "fp8"
    return "fp16"
