"""The guide's `profiling-config`: what the shards' profiler reads. Not here: where it is mounted (`engines/`, `pods.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import yaml

from infra.kubernetes import names
from settings.account import Effect, Resource, path_text
from settings.operations import Profiling


def profiling_file(profiling: Profiling) -> str:
    """`profiling.yaml` with the guide's keys."""
    return yaml.safe_dump({"profiling": json.loads(profiling.model_dump_json(by_alias=True))}, sort_keys=False)


def profiling_config(profiling: Profiling, opts: pulumi.ResourceOptions) -> k8s.core.v1.ConfigMap:
    """The ConfigMap, under the guide's name and in its namespace."""
    return k8s.core.v1.ConfigMap(
        names.PROFILING_CONFIG,
        metadata={
            "name": names.PROFILING_CONFIG,
            "namespace": names.SERVICE_NAMESPACE,
            "labels": names.labels(names.SHARD, "shard"),
        },
        data={"profiling.yaml": profiling_file(profiling)},
        opts=opts,
    )


def effects(profiling: Profiling) -> Iterator[Effect]:
    """Every key of the section, in the file that the shards' own profiler reads."""
    config = Resource("ConfigMap", f"{names.SERVICE_NAMESPACE}/{names.PROFILING_CONFIG}")
    for path in _keys(json.loads(profiling.model_dump_json(by_alias=True)), ("profiling",)):
        yield config.effect(".".join(path), path_text("data", "profiling.yaml", *path), outcome="passed through")


def _keys(section: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in section.items():
        yield from _keys(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
