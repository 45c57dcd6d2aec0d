"""The layouts that an engine can give a model on a VM size, and a stack's settings with each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planner.catalogue import hardware
from planner.catalogue.hardware import GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.recommend.choice import BITS
from settings import StackSettings
from settings.model import Model
from settings.shard import Shard


@dataclass(frozen=True, kw_only=True)
class EngineLayout:
    """Precision, GPUs per pod and pipeline stages: the part of a layout that reaches the engine's command line."""

    precision: str
    gpus: int
    """GPUs of one pod."""
    stages: int
    """Pods of one pipeline."""


def engine_layouts(settings: StackSettings, shape: ModelShape, size: GpuSize) -> Iterator[EngineLayout]:
    """Yields every layout that the engine accepts on this size."""
    gpu, layers = hardware.gpu_of(size), shape.layers
    engine_traits, quantization = traits(settings.engine, gpu), settings.model.quantization
    other = "fp16" if gpu.bf16 and quantization.enabled and quantization.precision == "bf16" else "bf16"
    # Where the layers do not divide evenly, all stages wait for those that have one layer more.
    stages = (1,) if engine_traits.whole_pipeline_in_a_pod else tuple(count for count in range(1, layers + 1) if layers % count == 0)
    # Checkpoints in these formats are the makers' own. fp16 and bf16 are alike in size and speed, so the stack's own type stands for both.
    published = {shape.published.precision} if shape.published else set()
    left_out = {other, *({"mxfp4", "nvfp4"} - published)}
    for precision in sorted(engine_traits.precisions_of(shape) - left_out, key=lambda name: (-BITS[name], name)):
        for gpus in range(1, size.gpus + 1):
            for count in stages:
                yield EngineLayout(precision=precision, gpus=gpus, stages=count)


class LayoutVariants:
    """A stack's settings with one engine layout after another.

    They are not validated again: a search makes hundreds of them, and most of their sections are shared.
    """

    def __init__(self, settings: StackSettings, shape: ModelShape) -> None:
        self._settings, self._shape = settings, shape
        self._models: dict[str, Model] = {}
        self._shards: dict[int, Shard] = {}

    def with_layout(self, layout: EngineLayout) -> StackSettings:
        """Returns the stack's settings with this layout."""
        if layout.precision not in self._models:
            self._models[layout.precision] = self._model(layout.precision)
        if layout.gpus not in self._shards:
            self._shards[layout.gpus] = self._shard(layout.gpus)
        sharding = self._settings.sharding
        layers = None if sharding.layers_per_shard is None else self._shape.layers // layout.stages
        return self._settings.model_copy(
            update={
                "model": self._models[layout.precision],
                "shard": self._shards[layout.gpus],
                "sharding": sharding.model_copy(update={"shards_count": layout.stages, "layers_per_shard": layers}),
            }
        )

    def _model(self, precision: str) -> Model:
        quantization = self._settings.model.quantization
        enabled = quantization.enabled or precision != "fp16"
        changed = quantization.model_copy(update={"enabled": enabled, "precision": precision})
        return self._settings.model.model_copy(update={"quantization": changed})

    def _shard(self, gpus: int) -> Shard:
        resources = self._settings.shard.resources
        changed = {
            side: limits.model_copy(update={"nvidia_gpu": gpus})
            for side, limits in (("requests", resources.requests), ("limits", resources.limits))
            if side == "limits" or limits.nvidia_gpu is not None
        }
        return self._settings.shard.model_copy(update={"resources": resources.model_copy(update=changed)})


def with_batch(settings: StackSettings, size: int) -> StackSettings:
    """Returns the settings with this many requests at once in a pipeline, and a compiled model that takes them."""
    coordinator, compilation = settings.coordinator, settings.model.compilation
    batching = coordinator.config.dynamic_batching
    if batching.enabled and batching.max_batch_size == size <= compilation.tensorrt.max_batch_size:
        return settings
    batching = batching.model_copy(update={"enabled": True, "max_batch_size": size})
    config = coordinator.config.model_copy(update={"dynamic_batching": batching})
    tensorrt = compilation.tensorrt.model_copy(update={"max_batch_size": max(size, compilation.tensorrt.max_batch_size)})
    model = settings.model.model_copy(update={"compilation": compilation.model_copy(update={"tensorrt": tensorrt})})
    return settings.model_copy(update={"coordinator": coordinator.model_copy(update={"config": config}), "model": model})
