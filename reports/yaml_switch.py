"""The lines of a stack file, and the command, that switch a stack to a layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.recommend.choice import Choice
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.files import PROJECT
from settings.flatten import text_of


def changes(asked: StackSettings, choice: Choice) -> dict[SettingPath, Any]:
    """Returns the settings that must change, with their new values."""
    changed = {path: value for path, written, value in _layout(asked, choice) if written != value}
    # The settings that do not fit the new size must be adjusted, whatever the mode was before.
    return changed | ({("sizing", "mode"): "fitted"} if changed and asked.sizing.mode != "fitted" else {})


def lines(asked: StackSettings, choice: Choice) -> str:
    """Returns YAML to paste below `config:`, one line per section. Its keys replace those of the same section and leave the others."""
    sections: dict[str, Any] = {}
    for (section, *path), value in changes(asked, choice).items():
        block = sections.setdefault(str(section), {})
        for part in path[:-1]:
            block = block.setdefault(part, {})
        block[path[-1]] = value
    return "".join(f"{PROJECT}:{section}: {_flow(value)}\n" for section, value in sections.items())


def _flow(value: Any) -> str:
    """Writes a block of keys on one line, as YAML's flow style does."""
    return f"{{{', '.join(f'{key}: {_flow(child)}' for key, child in value.items())}}}" if isinstance(value, dict) else text_of(value)


def command(asked: StackSettings, choice: Choice, stack: str) -> str:
    """Returns the Pulumi command that makes the same changes and leaves the rest of the file alone."""
    settings = " ".join(f"--plaintext '{_pulumi_path(path)}={_pulumi_text(value)}'" for path, value in changes(asked, choice).items())
    return f"pulumi config set-all --stack {stack} --path {settings}"


def _layout(asked: StackSettings, choice: Choice) -> Iterator[tuple[SettingPath, Any, Any]]:
    """Yields each setting that a layout decides, with its present value and the value that it needs."""
    pool, needed = asked.gpu_pool, choice.settings
    yield ("azure", "location"), asked.azure.location, choice.region
    yield ("gpuPool", "vmSize"), pool.vm_size, choice.size.name
    yield ("gpuPool", "spot"), pool.spot, pool.spot or choice.spot
    if pool.usd_per_hour is not None and pool.vm_size != choice.size.name:
        # The price in the stack file is that of another size.
        yield ("gpuPool", "usdPerHour"), pool.usd_per_hour, choice.usd_per_hour / choice.nodes
    if pool.max_nodes is not None:
        yield ("gpuPool", "maxNodes"), pool.max_nodes, max(pool.max_nodes, choice.nodes)
    before, after = asked.model.quantization, needed.model.quantization
    yield ("model", "quantization", "precision"), before.precision, choice.precision
    yield ("model", "quantization", "enabled"), before.enabled, after.enabled
    if asked.model.compilation.tensorrt.enabled:
        compiled, compiled_then = (settings.model.compilation.tensorrt.max_batch_size for settings in (asked, needed))
        yield ("model", "compilation", "tensorrt", "maxBatchSize"), compiled, compiled_then
    for side in ("requests", "limits"):
        gpus, gpus_then = (getattr(settings.shard.resources, side).nvidia_gpu for settings in (asked, needed))
        if gpus_then is not None:
            yield ("shard", "resources", side, "nvidia.com/gpu"), gpus, gpus_then
    yield ("sharding", "shardsCount"), asked.sharding.shards_count, needed.sharding.shards_count
    if asked.sharding.layers_per_shard is not None:
        yield ("sharding", "layersPerShard"), asked.sharding.layers_per_shard, needed.sharding.layers_per_shard
    yield ("sharding", "pipelines"), asked.sharding.pipelines, needed.sharding.pipelines
    if asked.autoscaling.enabled:
        most = asked.autoscaling.max_pipelines
        yield ("autoscaling", "maxPipelines"), most, max(most, needed.sharding.pipelines)
    batching, batching_then = (settings.coordinator.config.dynamic_batching for settings in (asked, needed))
    yield ("coordinator", "config", "dynamicBatching", "enabled"), batching.enabled, batching_then.enabled
    yield ("coordinator", "config", "dynamicBatching", "maxBatchSize"), batching.max_batch_size, batching_then.max_batch_size


def _pulumi_path(path: SettingPath) -> str:
    """Writes a path as Pulumi reads it, with brackets around a part that contains dots."""
    return "".join(f'["{part}"]' if "." in str(part) else f".{part}" for part in path).removeprefix(".")


def _pulumi_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
