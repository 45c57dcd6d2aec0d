"""`model`: the weights that are served and how they are held, as the guide writes it."""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import Form
from settings.quantities import Between, ByteSize
from settings.shard import SecretKeyRef
from settings.weight_source import SourceText, WeightSource, parse


class Quantization(Section):
    enabled: bool = True
    precision: Literal["fp16", "bf16", "fp8", "int8", "int4"] = "int8"
    dynamic: bool = True
    """Choose scales at run time instead of from the calibration data."""
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
    enabled: bool = True
    max_cache_size: Annotated[ByteSize, Between("1Mi", "32Ti", "no attention keys of a single token fit, or no GPU has that memory")] = (
        ByteSize("16Gi")
    )
    eviction_policy: Literal["lru", "lfu", "fifo"] = "lru"
    compression: bool = True
    pre_allocate: bool = True


class SparseAttention(Section):
    enabled: bool = False
    sparsity_pattern: Literal["local", "strided", "global"] = "local"
    window_size: Annotated[
        int, Field(ge=1, le=10_000_000), Otherwise("a token would see no other token, or more than any model's context")
    ] = 512


class Attention(Section):
    flash_attention: bool = True
    fused_attention: bool = True
    sparse_attention: SparseAttention = SparseAttention()


class TensorRt(Section):
    enabled: bool = False
    precision: Literal["fp32", "fp16", "bf16", "fp8", "int8"] = "fp16"
    max_batch_size: Annotated[int, Field(ge=1, le=4096), Otherwise("no GPU holds a batch of that size")] = 32
    max_workspace_size: Annotated[ByteSize, Between("1Mi", "1Ti", "TensorRT could not compile the model in that workspace")] = ByteSize(
        "4Gi"
    )


class OnnxRuntime(Section):
    enabled: bool = False
    optimization_level: Literal["none", "basic", "extended", "all"] = "all"
    enable_cuda_graph: bool = True


class Compilation(Section):
    tensorrt: TensorRt = TensorRt()
    onnx_runtime: OnnxRuntime = OnnxRuntime()


Count = Annotated[int, Field(ge=1, le=1_000_000), Otherwise("no model is built like that")]


class Shape(Section):
    """A decoder-only transformer's shape, by the names of its `config.json` where it has them."""

    params_b: Annotated[float, Field(gt=0, le=100_000), Otherwise("no model has that many parameters")]
    """Parameters, in units of 10^9."""
    layers: Annotated[int, Field(ge=1, le=4096), Otherwise("no model has that many layers")]
    """num_hidden_layers."""
    hidden: Count
    """hidden_size."""
    heads: Count
    """num_attention_heads."""
    kv_heads: Count
    """num_key_value_heads."""
    head_dim: Count | None = None
    """Left out: hidden / heads."""
    intermediate: Count
    """intermediate_size."""
    vocab: Count
    """vocab_size."""
    context: Annotated[int, Field(ge=1, le=100_000_000), Otherwise("no model reads that many tokens")]
    """max_position_embeddings."""
    attention: Literal["full", "windowed", "hybrid"] = "full"
    """Whether all layers look at the whole text, some only at a window of it (layer_types with sliding_attention), or some keep a state
    instead (linear attention, Mamba). Memory is counted as if all did."""


class Model(Section):
    """The weights that are served and how they are held in memory."""

    name: str = "llama-2-70b"
    """A model whose shape the catalogue knows, or any name with a `shape`."""
    shape: Shape | None = None
    """For a model that the catalogue does not know."""
    source: SourceText | None = None
    """Where its weights are fetched from, once, into the stack's storage. Left out: someone puts them there."""
    token_secret: SecretKeyRef | None = None
    """What opens the source: a hub token, a shared access signature of a blob path, `user:password` of a registry."""
    quantization: Quantization = Quantization()
    kv_cache: KvCache = KvCache()
    attention: Attention = Attention()
    compilation: Compilation = Compilation()

    @property
    def weight_source(self) -> WeightSource | None:
        """`source`, taken apart."""
        return parse(self.source) if self.source else None
