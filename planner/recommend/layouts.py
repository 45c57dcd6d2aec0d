"""The forms that an engine can give a model on a size, and a stack's settings in each of them."""

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
class Form:
    """What of a layout the engine is told."""

    precision: str
    gpus: int
    """Of a pod."""
    stages: int
    """Pods of a pipeline."""


def forms(settings: StackSettings, shape: ModelShape, size: GpuSize) -> Iterator[Form]:
    """All that the engine can be told. bf16 is left out: it is fp16 in size and speed."""
    gpu, layers = hardware.gpu(size.gpu), shape.layers
    assert gpu, "every size's GPU is in the catalogue"
    of_engine = traits(settings.engine, gpu)
    # Where the layers do not divide evenly, all stages wait for those that have one more.
    stages = (1,) if of_engine.whole_pipeline_in_a_pod else tuple(count for count in range(1, layers + 1) if layers % count == 0)
    for precision in sorted(of_engine.weight_precisions - {"bf16"}, key=lambda one: (-BITS[one], one)):
        for gpus in range(1, size.gpus + 1):
            for count in stages:
                yield Form(precision=precision, gpus=gpus, stages=count)


class Stack:
    """A stack in one form after another; not validated anew, as a search makes hundreds, and forms share most of their sections."""

    def __init__(self, settings: StackSettings, shape: ModelShape) -> None:
        self._settings, self._shape = settings, shape
        self._models: dict[str, Model] = {}
        self._shards: dict[int, Shard] = {}

    def formed(self, form: Form) -> StackSettings:
        if form.precision not in self._models:
            self._models[form.precision] = self._model(form.precision)
        if form.gpus not in self._shards:
            self._shards[form.gpus] = self._shard(form.gpus)
        sharding = self._settings.sharding
        layers = None if sharding.layers_per_shard is None else self._shape.layers // form.stages
        return self._settings.model_copy(
            update={
                "model": self._models[form.precision],
                "shard": self._shards[form.gpus],
                "sharding": sharding.model_copy(update={"shards_count": form.stages, "layers_per_shard": layers}),
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
    """With so many requests at once in a pipeline, and a compiled model that takes them."""
    coordinator, compilation = settings.coordinator, settings.model.compilation
    asked = coordinator.config.dynamic_batching
    if asked.enabled and asked.max_batch_size == size <= compilation.tensorrt.max_batch_size:
        return settings
    batching = coordinator.config.dynamic_batching.model_copy(update={"enabled": True, "max_batch_size": size})
    config = coordinator.config.model_copy(update={"dynamic_batching": batching})
    tensorrt = compilation.tensorrt.model_copy(update={"max_batch_size": max(size, compilation.tensorrt.max_batch_size)})
    model = settings.model.model_copy(update={"compilation": compilation.model_copy(update={"tensorrt": tensorrt})})
    return settings.model_copy(update={"coordinator": coordinator.model_copy(update={"config": config}), "model": model})
