"""The lines of a stack file that switch a stack to a layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.recommend.choice import Choice
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.files import PROJECT
from settings.flatten import text_of


def changes(asked: StackSettings, choice: Choice) -> dict[SettingPath, Any]:
    """What the stack file has to say otherwise, by its place in it."""
    changed = {path: value for path, written, value in _layout(asked, choice) if written != value}
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
    return "".join(f"{PROJECT}:{section}: {_flow(value)}\n" for section, value in sections.items())


def _flow(value: Any) -> str:
    """As YAML writes keys and plain values on one line."""
    return f"{{{', '.join(f'{key}: {_flow(child)}' for key, child in value.items())}}}" if isinstance(value, dict) else text_of(value)


def command(asked: StackSettings, choice: Choice, stack: str) -> str:
    """The same as one command of the engine, which leaves everything else in the file as it is."""
    settings = " ".join(f"--plaintext '{_engine_path(path)}={_engine_text(value)}'" for path, value in changes(asked, choice).items())
    return f"pulumi config set-all --stack {stack} --path {settings}"


def _layout(asked: StackSettings, choice: Choice) -> Iterator[tuple[SettingPath, Any, Any]]:
    """Each place that a layout decides, with what is asked for there and what has to be."""
    pool, made = asked.gpu_pool, choice.settings
    yield ("azure", "location"), asked.azure.location, choice.region
    yield ("gpuPool", "vmSize"), pool.vm_size, choice.size.name
    yield ("gpuPool", "spot"), pool.spot, pool.spot or choice.spot
    if pool.usd_per_hour is not None and pool.vm_size != choice.size.name:
        # It was another size's.
        yield ("gpuPool", "usdPerHour"), pool.usd_per_hour, choice.usd_per_hour / choice.nodes
    if pool.max_nodes is not None:
        yield ("gpuPool", "maxNodes"), pool.max_nodes, max(pool.max_nodes, choice.nodes)
    before, after = asked.model.quantization, made.model.quantization
    yield ("model", "quantization", "precision"), before.precision, choice.precision
    yield ("model", "quantization", "enabled"), before.enabled, after.enabled
    if asked.model.compilation.tensorrt.enabled:
        compiled = (one.model.compilation.tensorrt.max_batch_size for one in (asked, made))
        yield ("model", "compilation", "tensorrt", "maxBatchSize"), *compiled
    for side in ("requests", "limits"):
        gpus = [getattr(one.shard.resources, side).nvidia_gpu for one in (asked, made)]
        if gpus[1] is not None:
            yield ("shard", "resources", side, "nvidia.com/gpu"), *gpus
    yield ("sharding", "shardsCount"), asked.sharding.shards_count, made.sharding.shards_count
    if asked.sharding.layers_per_shard is not None:
        yield ("sharding", "layersPerShard"), asked.sharding.layers_per_shard, made.sharding.layers_per_shard
    yield ("sharding", "pipelines"), asked.sharding.pipelines, made.sharding.pipelines
    if asked.autoscaling.enabled:
        most = asked.autoscaling.max_pipelines
        yield ("autoscaling", "maxPipelines"), most, max(most, made.sharding.pipelines)
    batching = [one.coordinator.config.dynamic_batching for one in (asked, made)]
    yield ("coordinator", "config", "dynamicBatching", "enabled"), *(one.enabled for one in batching)
    yield ("coordinator", "config", "dynamicBatching", "maxBatchSize"), *(one.max_batch_size for one in batching)


def _engine_path(path: SettingPath) -> str:
    """As the engine reads it: a part with dots in it stands in brackets."""
    return "".join(f'["{part}"]' if "." in str(part) else f".{part}" for part in path).removeprefix(".")


def _engine_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
