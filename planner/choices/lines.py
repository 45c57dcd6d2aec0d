"""The lines of a stack file that switch a stack to a layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from planner.choices.choice import Choice
from settings import StackSettings
from settings.explaining import Path
from settings.files import PROJECT
from settings.leaves import document


def changes(asked: StackSettings, choice: Choice) -> dict[Path, Any]:
    """What the stack file has to say otherwise, by its place in it."""
    written = document(asked)
    changed = {path: value for path, value in _layout(asked, choice) if _at(written, path) != value}
    # What does not fit the new size is adjusted, whatever was asked for until now.
    return changed | ({("sizing", "mode"): "fitted"} if changed and asked.sizing.mode != "fitted" else {})


def lines(asked: StackSettings, choice: Choice) -> str:
    """YAML below `config:`, one line a section: its keys replace those of the same section and stand beside the others."""
    sections: dict[str, Any] = {}
    for (section, *path), value in changes(asked, choice).items():
        place = sections.setdefault(section, {})
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return "".join(
        f"{PROJECT}:{section}: {yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)}"
        for section, value in sections.items()
    )


def command(asked: StackSettings, choice: Choice, stack: str) -> str:
    """The same as one command of the engine, which leaves everything else in the file as it is."""
    settings = " ".join(f"--plaintext '{_engine_path(path)}={_engine_text(value)}'" for path, value in changes(asked, choice).items())
    return f"pulumi config set-all --stack {stack} --path {settings}"


def _layout(asked: StackSettings, choice: Choice) -> Iterator[tuple[Path, Any]]:
    made = choice.settings
    if asked.azure.location != choice.region:
        yield ("azure", "location"), choice.region
    yield ("gpuPool", "vmSize"), choice.size.name
    if choice.spot:
        yield ("gpuPool", "spot"), True
    pool = asked.gpu_pool
    if pool.usd_per_hour is not None and pool.vm_size != choice.size.name:
        # It was another size's.
        yield ("gpuPool", "usdPerHour"), choice.usd_per_hour / choice.nodes
    if pool.max_nodes is not None and pool.max_nodes < choice.nodes:
        yield ("gpuPool", "maxNodes"), choice.nodes
    yield ("model", "quantization", "precision"), choice.precision
    yield ("model", "quantization", "enabled"), made.model.quantization.enabled
    resources = made.shard.resources
    for side, limits in (("requests", resources.requests), ("limits", resources.limits)):
        if limits.nvidia_gpu is not None:
            yield ("shard", "resources", side, "nvidia.com/gpu"), limits.nvidia_gpu
    yield ("sharding", "shardsCount"), made.sharding.shards_count
    if made.sharding.layers_per_shard is not None:
        yield ("sharding", "layersPerShard"), made.sharding.layers_per_shard
    yield ("sharding", "pipelines"), made.sharding.pipelines
    if asked.autoscaling.enabled and asked.autoscaling.max_pipelines < made.sharding.pipelines:
        yield ("autoscaling", "maxPipelines"), made.sharding.pipelines
    batching = made.coordinator.config.dynamic_batching
    yield ("coordinator", "config", "dynamicBatching", "enabled"), batching.enabled
    yield ("coordinator", "config", "dynamicBatching", "maxBatchSize"), batching.max_batch_size
    if asked.model.compilation.tensorrt.enabled:
        yield ("model", "compilation", "tensorrt", "maxBatchSize"), made.model.compilation.tensorrt.max_batch_size


def _at(written: dict[str, Any], path: Path) -> Any:
    value: Any = written
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _engine_path(path: Path) -> str:
    """As the engine reads it: a part with dots in it stands in brackets."""
    return "".join(f'["{part}"]' if "." in str(part) else f".{part}" for part in path).removeprefix(".")


def _engine_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
