"""Which properties make azure-native replace a resource, from the provider's own list and from Azure's specifications.

    python -m rehearsal.azure.replacements REPLACEMENT_GO COMMIT

writes `data/replacements.yaml` from the file provider/pkg/gen/replacement.go of github.com/pulumi/pulumi-azure-native, at that commit. The
SDK does not carry the list. The provider replaces a resource for three reasons (forceNew in provider/pkg/gen/properties.go):

1. Its list names the property. A name counts wherever it stands in the resource, so the paths are looked up in the SDK's types.
2. Azure's specification marks a property of the resource itself as `x-ms-mutability: create, read`. The same mark deeper inside replaces
   nothing. `location` has it everywhere; `_MARKED` has the others.
3. The property is a part of the resource's id (`resources.py`).
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from rehearsal.azure import schema

DATA = Path(__file__).resolve().parent / "data" / "replacements.yaml"
# Azure/azure-rest-api-specs @15f38e5b, specification/redisenterprise/resource-manager/Microsoft.Cache/RedisEnterprise/stable/2025-07-01/
# redisenterprise.json.
# The published models of containerservice, network, privatedns, storage, keyvault, containerregistry, resources and loganalytics
# (azure-mgmt-* on PyPI, 2026-11: `visibility=["read", "create"]`) mark nothing but `location` on the types of resources.py.
_MARKED = {"redisenterprise:Database": frozenset({"port", "modules", "geoReplication"})}
_HEADER = """\
# Properties for which azure-native replaces a resource; a name counts wherever it stands in the resource.
# Written by `python -m rehearsal.azure.replacements` from pulumi/pulumi-azure-native provider/pkg/gen/replacement.go @{commit}.
"""


@functools.cache
def named() -> dict[str, frozenset[str]]:
    """Returns the provider's own list: property names by `module:Name`."""
    return {token: frozenset(names) for token, names in yaml.safe_load(DATA.read_text()).items()}


@functools.cache
def replacing(token: str) -> frozenset[str]:
    """Returns the paths whose change replaces a resource `azure-native:module:Name`, without those of its id.

    A path through a list has no index: `agentPoolProfiles.networkProfile.nodePublicIPTags`.
    """
    short = token.removeprefix("azure-native:")
    shape = schema.schema(token)
    found = set(_paths(shape["properties"], shape["objects"], named().get(short, frozenset()), ""))
    return frozenset(found | _MARKED.get(short, frozenset()) | {"location"})


def _paths(properties: dict[str, Any], objects: dict[str, Any], names: frozenset[str], start: str, inside: tuple[str, ...] = ()) -> Any:
    for name, kind in properties.items():
        path = f"{start}.{name}" if start else name
        if name in names:
            yield path
            continue
        while kind["kind"] in ("list", "map"):
            kind = kind["of"]
        if kind["kind"] == "object" and kind["ref"] not in inside:  # types may contain themselves
            yield from _paths(objects[kind["ref"]]["properties"], objects, names, path, (*inside, kind["ref"]))


def read_provider(source: str) -> dict[str, list[str]]:
    """Returns the names that `forceNewMap` has for each resource, as `module:Name` in the SDK's spelling. Raises ValueError."""
    match = re.search(r"var forceNewMap = .*?{\n(.*?)\n}\n", re.sub(r"//[^\n]*", "", source), re.S)
    if match is None:
        raise ValueError("this file has no forceNewMap")
    found = {}
    for module, resources in re.findall(r'^\t"(\w+)": {\n(.*?)^\t},', match.group(1), re.S | re.M):
        for resource, names in re.findall(r'"(\w+)":\s+codegen\.NewStringSet\((.*?)\)', resources, re.S):
            found[f"{module.lower()}:{resource}"] = sorted(re.findall(r'"(\w+)"', names))
    return {resource: names for resource, names in sorted(found.items()) if names}


if __name__ == "__main__":
    properties = read_provider(Path(sys.argv[1]).read_text())
    DATA.write_text(_HEADER.format(commit=sys.argv[2]) + yaml.safe_dump(properties, width=200))
