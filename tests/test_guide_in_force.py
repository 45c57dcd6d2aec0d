"""Every leaf of the guide's YAML blocks reaches a rendered resource: change the leaf, and see what changes.

A leaf that changes nothing would be a setting that is silently dropped. `python -m tests.test_guide_in_force` prints the list:
key -> resource -> field.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pulumi_kubernetes
import pytest
from pydantic import ValidationError

from engines import ENGINES
from engines.workload import Workload
from infra.azure.platform import names_of
from infra.kubernetes import platform
from infra.kubernetes.inputs import AzureInputs
from planner import plan as make_plan
from planner.plan import Plan
from settings import SettingsError, StackSettings
from stacks import config, program
from tests.mocks import recording, run
from tests.settings.guide_blocks import BLOCKS, content, leaves

Key = tuple[int | str, ...]

# Changing one of these alone contradicts another, so both change.
TOGETHER: dict[Key, dict[Key, Any]] = {
    ("sharding", "shardsCount"): {("sharding", "shardsCount"): 10, ("sharding", "layersPerShard"): 8},
    ("sharding", "layersPerShard"): {("sharding", "shardsCount"): 16, ("sharding", "layersPerShard"): 5},
}
# The only value there is; that it is rendered is checked by the place where the others of its block stand.
ONLY_VALUE = {("sharding", "strategy"), ("caching", "l3Cache", "backend")}


def guide_keys() -> list[Key]:
    """Every leaf of every block once; the names of variables and metrics are part of the key."""
    found = {key: None for block in BLOCKS for key in leaves(content(block))}
    return [key for key in found if key[-1] != "name"]


def prod() -> dict[str, Any]:
    checked = config.from_file(config.stack_file_path("prod"), "prod")
    assert not checked.problems
    return {name: json.loads(text) for name, text in checked.file.sections.items()}


def place(document: dict[str, Any], key: Key) -> tuple[Any, int | str]:
    """The container that holds a leaf, and its index there."""
    at: Any = document
    for part in key[:-1]:
        at = next(item for item in at if item["name"] == part) if isinstance(at, list) and isinstance(part, str) else at[part]
    return at, key[-1]


def other_values(key: Key, value: Any) -> Iterator[Any]:
    """Values that mean something else than `value`, likeliest to be valid first."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value - 1, value + 1, value * 0.9)
    else:
        number = value.rstrip("GiMKBmsh%")
        if number.isdigit() and number != value:
            yield from (f"{int(number) - 1}{value[len(number) :]}", f"{int(number) + 1}{value[len(number) :]}")
        yield from choices(key)
        yield from ("1", f"{value}-changed", "ScheduleAnyway", "0-79", "topology.kubernetes.io/region")


def choices(key: Key) -> list[Any]:
    """The other members, where the setting is one of a fixed set."""
    model: Any = StackSettings
    for part in (part for part in key if isinstance(part, str)):
        fields = getattr(model, "model_fields", {})
        found = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        if found is None:
            return []
        model = found.annotation
        while get_origin(model) is tuple:
            model = get_args(model)[0]
    return list(get_args(model)) if get_args(model) and all(isinstance(arg, str) for arg in get_args(model)) else []


def changed(key: Key) -> Iterator[dict[str, Any]]:
    """prod with another value at `key`, several tries; the last one is without the key."""
    base = prod()
    if key in TOGETHER:
        for each, value in TOGETHER[key].items():
            holder, index = place(base, each)
            holder[index] = value
        yield base
        return
    holder, index = place(base, key)
    for value in other_values(key, holder[index]):
        if value != holder[index]:
            variant = copy.deepcopy(base)
            there, _ = place(variant, key)
            there[index] = value
            yield variant
    del holder[index]
    yield base


def planned(document: dict[str, Any]) -> tuple[StackSettings, Plan, Workload]:
    settings = StackSettings.model_validate_json(json.dumps(document))
    plan = make_plan(settings)
    names = names_of(settings, "prod")
    endpoints = program.endpoints(settings, plan, registry=names.registry_host, redis=names.redis_host)
    return settings, plan, ENGINES[settings.engine].render(settings, plan, endpoints)


def files(document: dict[str, Any]) -> dict[str, str]:
    """The configuration files that the servers read, by their place in the cluster."""
    _, _, workload = planned(document)
    servers = {"zig-ai-coordinator-config": workload.coordinator, "zig-ai-shard-config": workload.shard}
    return {f"ConfigMap/{name}.data.{file.name}": file.content for name, server in servers.items() for file in server.config_files}


def rendered(document: dict[str, Any]) -> dict[str, Any]:
    """Every resource of the Kubernetes side by `kind/name`."""
    settings, plan, workload = planned(document)
    recorder = recording("prod")
    azure = AzureInputs(
        coordinator_client_id="coordinator",
        shard_client_id="shard",
        weights_account="weights",
        weights_container="weights",
        weights_resource_group="group",
    )
    run(lambda: platform.deploy(settings, plan, workload, azure, pulumi_kubernetes.Provider("aks")).endpoint)
    return {f"{item.type.rsplit(':', 1)[1]}/{item.name}": item.inputs for item in recorder.resources if item.type.startswith("kubernetes:")}


@functools.cache
def as_written() -> dict[str, Any]:
    return rendered(prod())


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Fields that differ; inside a file of a ConfigMap, the line."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
    elif old != new:
        if isinstance(old, str) and isinstance(new, str) and "\n" in old:
            line = next((i for i, pair in enumerate(zip(old.splitlines(), new.splitlines(), strict=False), 1) if pair[0] != pair[1]), 1)
            yield f"{path} line {line}"
        else:
            yield path


def where(key: Key) -> list[str]:
    """Files, or else resources and fields, that follow this leaf; hashes that only roll pods are not evidence."""
    for document in changed(key):
        try:
            if found := list(differences(files(prod()), files(document))):
                return sorted(found)
            now = rendered(document)
        except (ValidationError, SettingsError):
            continue
        if found := [field for field in sorted(differences(as_written(), now)) if "annotations" not in field or "annotations" in key]:
            return found
    return []


def test_the_files_are_in_the_cluster():
    """What makes a change of a file a change of the deployment."""
    for place_in_cluster, content_of_file in files(prod()).items():
        name, _, file = place_in_cluster.partition(".data.")
        assert as_written()[name]["data"][file] == content_of_file


@pytest.mark.parametrize("key", [key for key in guide_keys() if key not in ONLY_VALUE], ids=lambda key: ".".join(map(str, key)))
def test_leaf_is_rendered(key):
    assert where(key), f"{'.'.join(map(str, key))} of the guide changes nothing that is deployed"


@pytest.mark.parametrize(("key", "text"), [("strategy", "strategy: layer_wise"), ("backend", "backend: redis")])
def test_the_only_value_there_is_is_rendered(key, text):
    files = [value for name, item in as_written().items() if name.startswith("ConfigMap") for value in item.get("data", {}).values()]
    assert any(text in file.replace('"', "") for file in files)


if __name__ == "__main__":
    for guide_key in guide_keys():
        print(".".join(map(str, guide_key)), "->", "; ".join(where(guide_key)[:3]) or "NOTHING")
