"""The section `model`: the weights that are served and how they are kept in memory, as the guide has it."""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import Form
from settings.quantities import Between, ByteSize
from settings.shard import SecretKeyRef
from settings.weight_source import SourceText, WeightSource, parse


class Quantization(Section):
    """The precision of the weights."""

    enabled: bool = True
    precision: Literal["fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"] = "int8"
    method: Literal["fp8", "mxfp4", "compressed-tensors", "awq", "gptq", "modelopt", "modelopt_fp4"] | None = None
    """How the checkpoint was quantised: quant_method in its `config.json`. By default as the model was published in this precision, or as
    llm-compressor writes it (compressed-tensors; GPTQ on a V100)."""
    dynamic: bool = True
    """Chooses scales at run time instead of from calibration data."""
    calibration_dataset: (
        Annotated[
            str,
            Form(
                r"/[^\s\0]*", "is not a path inside the container: the server would not find it", 'a path such as "/data/calibration.json"'
            ),
        ]
        | None
    ) = None


class KvCache(Section):
    """The cache of attention keys and values on the GPUs."""

    enabled: bool = True
    max_cache_size: Annotated[ByteSize, Between("1Mi", "32Ti", "it would not hold a single token, or no GPU has that much memory")] = (
        ByteSize("16Gi")
    )
    eviction_policy: Literal["lru", "lfu", "fifo"] = "lru"
    compression: bool = True
    pre_allocate: bool = True


class SparseAttention(Section):
    """Attention to a part of the text only."""

    enabled: bool = False
    sparsity_pattern: Literal["local", "strided", "global"] = "local"
    window_size: Annotated[
        int, Field(ge=1, le=10_000_000), Otherwise("a token would see no other token, or more tokens than any model reads")
    ] = 512


class Attention(Section):
    """The attention kernels."""

    flash_attention: bool = True
    fused_attention: bool = True
    sparse_attention: SparseAttention = SparseAttention()


class TensorRt(Section):
    """Compilation of the model by TensorRT."""

    enabled: bool = False
    precision: Literal["fp32", "fp16", "bf16", "fp8", "int8"] = "fp16"
    max_batch_size: Annotated[int, Field(ge=1, le=4096), Otherwise("no GPU holds a batch of that size")] = 32
    max_workspace_size: Annotated[ByteSize, Between("1Mi", "1Ti", "TensorRT could not compile the model in that workspace")] = ByteSize(
        "4Gi"
    )


class OnnxRuntime(Section):
    """Execution of the model by ONNX Runtime."""

    enabled: bool = False
    optimization_level: Literal["none", "basic", "extended", "all"] = "all"
    enable_cuda_graph: bool = True


class Compilation(Section):
    """Compilers of the model."""

    tensorrt: TensorRt = TensorRt()
    onnx_runtime: OnnxRuntime = OnnxRuntime()


Count = Annotated[int, Field(ge=1, le=1_000_000), Otherwise("no model has such a shape")]


Layers = Annotated[int, Field(ge=1, le=4096), Otherwise("no model has that many layers")]
Some = Annotated[int, Field(ge=0, le=1_000_000), Otherwise("no model has such a shape")]
Billions = Annotated[float, Field(gt=0, le=100_000), Otherwise("no model has that many parameters")]


class Experts(Section):
    """The feed-forwards of a mixture of experts, of which each token uses a few."""

    count: Count
    """Routed experts of a layer: num_experts, num_local_experts or n_routed_experts."""
    per_token: Count
    """num_experts_per_tok."""
    intermediate: Count
    """moe_intermediate_size, or intermediate_size where there is none."""
    shared: Some = 0
    """n_shared_experts: experts that every token uses."""
    dense_layers: Some = 0
    """first_k_dense_replace: first layers without experts."""


class Latent(Section):
    """Attention with one latent vector for all heads (MLA)."""

    rank: Count
    """kv_lora_rank."""
    rope_dim: Count
    """qk_rope_head_dim."""
    index_bytes: Some = 0
    """Bytes of a token in each layer for the indexer of sparse attention: 132 in DeepSeek-V3.2 and GLM-5."""


class Windows(Section):
    """Layers that look at the last tokens only."""

    layers: Layers
    """How many layers: those with sliding_attention in layer_types."""
    tokens: Annotated[int, Field(ge=1, le=100_000_000), Otherwise("no model reads that many tokens")]
    """sliding_window."""
    token_values: Some = 0
    """Values that a token leaves in such a layer; 0 where they are as many as in the others."""


class State(Section):
    """Layers that keep a state instead of each token: linear attention, Mamba."""

    layers: Layers
    """How many layers keep no keys and values."""
    request_bytes: Annotated[int, Field(ge=0, le=2**40), Otherwise("no GPU holds such a state")]
    """Bytes that a request keeps in all of them together."""


class Checkpoint(Section):
    """How the published files store the weights, if not in 16 bits throughout."""

    precision: Literal["fp8", "int8", "int4", "mxfp4", "nvfp4"]
    method: Literal["fp8", "mxfp4", "compressed-tensors", "awq", "gptq", "modelopt", "modelopt_fp4"]
    """quant_method of its `config.json`, as vLLM's `--quantization` names it."""
    bytes_per_weight: Annotated[float, Field(gt=0, le=4), Otherwise("no format takes that many bytes for a weight")]
    """Bytes of a quantised weight with its share of the scales."""
    params_b: Annotated[float, Field(ge=0, le=100_000), Otherwise("no model has that many parameters")]
    """Number of quantised parameters, in 10^9; all others have 16 bits."""


class Shape(Section):
    """The shape of a decoder-only transformer; descriptions give the names in its `config.json`.

    `python -m planner model FILE` prints it. Without the sections at its end, a model is dense, and all of its layers attend to the whole
    text.
    """

    params_b: Billions
    """Number of parameters, in 10^9."""
    active_params_b: Billions | None = None
    """Number of parameters that one token uses, in 10^9. By default all, but for the experts that it does not choose."""
    layers: Layers
    """num_hidden_layers."""
    hidden: Count
    """hidden_size."""
    heads: Count
    """num_attention_heads."""
    kv_heads: Count
    """num_key_value_heads."""
    head_dim: Count | None = None
    """head_dim. By default hidden / heads."""
    intermediate: Count
    """intermediate_size."""
    vocab: Count
    """vocab_size."""
    context: Annotated[int, Field(ge=1, le=100_000_000), Otherwise("no model reads that many tokens")]
    """max_position_embeddings."""
    attention: Literal["full", "windowed", "hybrid"] = "full"
    """`full` if all layers attend to the whole text, `windowed` if some attend to a window of it (layer_types with sliding_attention),
    `hybrid` if some keep a state instead (linear attention, Mamba). Follows from `windows` and `state`; without them memory is counted as
    for `full`."""
    token_values: Some = 0
    """Values that a token leaves in the cache of a layer that looks at the whole text; 0 for 2 x kvHeads x headDim."""
    tied_embeddings: bool = False
    """tie_word_embeddings."""
    experts: Experts | None = None
    latent: Latent | None = None
    windows: Windows | None = None
    state: State | None = None
    checkpoint: Checkpoint | None = None


class Model(Section):
    """The weights that are served and how they are kept in memory."""

    name: str = "llama-2-70b"
    """A model of the catalogue, or any name together with a `shape`."""
    shape: Shape | None = None
    """The model's shape, for a model that is not in the catalogue."""
    source: SourceText | None = None
    """The source from which the weights are downloaded once into the stack's storage. Without it you upload them yourself."""
    token_secret: SecretKeyRef | None = None
    """The Secret that opens the source: a hub token, a shared access signature of a blob path, or `user:password` of a registry."""
    quantization: Quantization = Quantization()
    kv_cache: KvCache = KvCache()
    attention: Attention = Attention()
    compilation: Compilation = Compilation()

    @property
    def weight_source(self) -> WeightSource | None:
        """The parsed `source`, or None without one."""
        return parse(self.source) if self.source else None
