"""What changes in a rendered server when one setting changes is what its effects name; no process is started.

Each setting of some stacks gets another value, one at a time. The stacks are planned as they are written (`sizing.mode: verbatim`), so that
no rule changes a second setting: what the rules change is the plan's findings to say.
"""

import functools
import re
from fnmatch import fnmatchcase

import pytest

from engines import ENGINES
from engines.flags import Flag, Variable, field, field_effects, plain
from engines.workload import Env
from infra.endpoints import endpoints
from planner import plan as make_plan
from settings import SettingsError, files
from settings.error_messages import key_text
from settings.flatten import document, with_values
from tests.engines.rendering import manifest
from tests.infra import variations

VERBATIM = {"sizing": {"mode": "verbatim"}, "sharding": {"layersPerShard": None}}
ONE = {"sharding": {"shardsCount": 1, "layersPerShard": None}}
LOCKS = {
    "tls": {"secretName": "front-door", "clientCaSecretName": "clients"},
    "apiKeys": {"secretName": "keys"},
    "allowedOrigins": ["https://chat.example.com"],
}


def on(count):
    return {side: {"nvidia.com/gpu": count} for side in ("requests", "limits")}


STACKS = {
    "zig_ai": VERBATIM,
    "llama.cpp": ONE
    | {
        "sizing": {"mode": "verbatim"},
        "engine": "llama_cpp",
        "gpuPool": {"vmSize": "Standard_NC24ads_A100_v4"},
        "model": {"quantization": {"precision": "int4"}, "kvCache": {"maxCacheSize": "4Gi"}},
        "coordinator": {"limits": {"requestsPerMinutePerClient": 77, "requestTokens": 2048}},
        "exposure": LOCKS,
    },
    "vllm in one pod": ONE
    | {
        "sizing": {"mode": "verbatim"},
        "engine": "vllm",
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "model": {"kvCache": {"maxCacheSize": "4Gi"}, "quantization": {"precision": "int8"}},
        "shard": {"resources": on(2)},
    },
    "vllm as a group on H100": variations.VARIATIONS["vllm as two Ray groups on H100"]
    | {
        "sizing": {"mode": "verbatim"},
        "model": {"name": "llama-3.1-405b", "quantization": {"precision": "fp16"}, "kvCache": {"maxCacheSize": "4Gi"}},
    },
    "vllm as a group on V100": {
        "sizing": {"mode": "verbatim"},
        "engine": "vllm",
        "gpuPool": {"vmSize": "Standard_NC24s_v3"},
        "sharding": {"shardsCount": 4, "layersPerShard": None},
        "shard": {"resources": on(4)},
        "model": {"kvCache": {"maxCacheSize": "1Gi"}},
    },
}
READ_BY_ENGINES = (
    "shard.",
    "model.",
    "sharding.",
    "coordinator.",
    "caching.",
    "exposure.",
    "rollout.",
    "images.",
    "targets.latency",
    "nodeTuning.hugePages2Mi",
    "profiling.enabled",
)
"""The sections that engines read, by the beginning of their keys."""

NEXT = {
    "sharding.shardsCount": lambda count: count + 2,
    "exposure.allowedOrigins": lambda origins: [*origins, "https://app.example.com"],
    "model.kvCache.maxCacheSize": lambda size: f"{int(size.removesuffix('Gi')) * 3 * 256}Mi",
    "shard.resources.limits.nvidia.com/gpu": lambda count: 2 * count,
}
"""Another value, where that of `variations.other` is refused."""

BY_WAY_OF_THE_PLAN = {
    ("shard.resources.requests.cpu", "hugepages-2Mi"): "how many pods fit on a node decides each one's share of the node's huge pages",
    ("shard.resources.limits.nvidia.com/gpu", "hugepages-2Mi"): "the same",
    ("sharding.shardsCount", "command"): "a pipeline of several pods is started by Ray's script, whose every word would be named",
    (
        "model.kvCache.enabled",
        "",
    ): "the plan counts no cache where the stack wants none, and these engines have one all the same: not supported",
}
"""What changes by way of the plan and is not named: setting, a part of the place (empty: all), and why."""


@functools.cache
def stack(name):
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    return variations.checked(variations.merged(document(prod), STACKS[name]))


class Rendered:
    """A stack's servers, each as a mapping from place to value."""

    def __init__(self, settings):
        plan = make_plan(settings)
        names = endpoints(plan, registry="registry.example", redis="redis.example" if plan.redis_sku else None)
        self.workload = ENGINES[plan.settings.engine].render(plan.settings, plan, names)
        servers = {role: getattr(self.workload, role) for role in ("coordinator", "shard", "worker")}
        self._documents = {role: _document(server) for role, server in servers.items() if server}
        self.values = {(role, *place): value for role, found in self._documents.items() for place, value in _leaves(found)}

    def named(self, key):
        """The places of a setting's effects; a switch acts wherever the other settings of its section do."""
        section = key.removesuffix("enabled") if key.endswith(".enabled") else f"{key}."
        return {
            (effect.place.kind, *_place(self._documents[effect.place.kind], effect.place.path))
            for effect in self.workload.effects
            if effect.place.kind != "plan" and (effect.key == key or effect.key.startswith(section))
        }


def _document(server):
    """The manifest with its command line taken apart: a flag's value by the flag, any other word by its position."""
    found = manifest(server)
    words = found.pop("args", [])
    found["args"] = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            alone = index + 1 == len(words) or words[index + 1].startswith("--")
            found["args"][word] = word if alone else words[index + 1]
        elif index == 0 or not words[index - 1].startswith("--"):
            found["args"][str(index)] = word
    # Flags in a shell's command have values of their own, and the rest of the text stays.
    text = " ".join(found.pop("command", []))
    found["command"] = {"text": re.sub(r"=\S+", "=", text)} | dict(re.findall(r"(--[\w-]+)=(\S+)", text))
    return found


def _names(items):
    """Items of a list by their names, the second of the same name apart from the first; by number where they have none."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    return [(name, names[:index].count(name)) if isinstance(name, str) else index for index, name in enumerate(names)]


def _leaves(value, place=()):
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*place, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for name, item in zip(_names(value), value, strict=True):
            yield from _leaves(item, (*place, name))
    else:
        yield place, value


PART = re.compile(r'\.?([\w-]+)|\["([^"]+)"\]|\[(\d+)\]|\[([^\]"]+)\]')


def _place(value, path):
    """A written path with lists' items by their names, as `_leaves` has them: an index shifts when an item is added before it."""
    place = []
    for part in PART.finditer(path):
        key = next(group for group in part.groups() if group is not None)
        if isinstance(value, list):
            names = _names(value)
            found = [
                index for index, name in enumerate(names) if str(index) == key or (isinstance(name, tuple) and fnmatchcase(name[0], key))
            ]
            key, value = (names[found[0]], value[found[0]]) if found else (key, None)
        else:
            value = value.get(key) if isinstance(value, dict) else None
        place.append(key)
    return tuple(place)


def unnamed(before, after, key):
    """Places that changed and that no effect of the setting names: for an added or removed part, nothing in it and nothing around it."""
    named = before.named(key) | after.named(key)
    changed = {_part(place, before.values, after.values) for place in before.values.keys() | after.values.keys()}
    return {part for part in changed if part and not any(part[: len(name)] == name or name[: len(part)] == part for name in named)}


def _part(place, before, after):
    """The place, or the largest part around it that only one of both has; None where both have the same value."""
    if place in before and place in after:
        return None if before[place] == after[place] else place
    other = after if place in before else before
    depths = range(1, len(place) + 1)
    return next((place[:depth] for depth in depths if not any(found[:depth] == place[:depth] for found in other)), place)


def changes(name):
    """Each setting that engines read, with the same stack but for another value of it."""
    for path, value in _paths({section: kept for section, kept in document(stack(name)).items() if section != "monitoring"}):
        key = key_text(path)
        if key.startswith(READ_BY_ENGINES):
            yield key, path, NEXT[key](value) if key in NEXT else not value if isinstance(value, bool) else variations.other(path, value)


def _paths(value, path=()):
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _paths(child, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from [((*path, item["name"]), item["value"])] if "name" in item else _paths(item, (*path, index))
    else:
        yield path, value


REFUSED = {
    "sharding.layersPerShard": "it must go with the number of shards",
    "sharding.shardsCount": "one process holds the whole model",
    "model.name": "the other model does not fit",
    "model.quantization.enabled": "weights of 16 bits do not fit",
    "shard.config.gpuMemoryFraction": "with less memory the weights do not fit",
    "shard.resources.limits.nvidia.com/gpu": "the node has no more",
}
"""Settings whose other value some of the stacks refuse, with the reason; another stack takes it, or another test changes it."""


@pytest.mark.parametrize("name", STACKS)
def test_what_changes_with_a_setting_is_what_its_effects_name(name):
    before, wrong, refused = Rendered(stack(name)), {}, set()
    for key, path, value in changes(name):
        try:
            after = Rendered(with_values(stack(name), {path: value}))
        except SettingsError as error:
            refused.add((key, str(error)))
            continue
        left_out = [part for setting, part in BY_WAY_OF_THE_PLAN if setting == key]
        found = {place for place in unnamed(before, after, key) if not any(part in ("", *map(str, place)) for part in left_out)}
        if found:
            wrong[key] = found
    assert wrong == {}
    assert {key for key, _ in refused} <= set(REFUSED), refused


@pytest.mark.parametrize(
    "carrier", [lambda **more: Flag("--quiet", None, **more), lambda **more: Variable(Env(name="QUIET", value="1"), **more)]
)
def test_what_answers_no_setting_must_say_why_it_is_there(carrier):
    with pytest.raises(ValueError, match=r"QUIET|--quiet"):
        carrier()
    assert carrier(why="nobody reads its log").why


def test_marks_are_taken_out_and_their_places_are_the_files():
    shared = {"anchor": 1}
    document = {"a": [{"name": "x", "b.c": field(5, "one", "two")}, shared], "d": shared}
    effects = [(effect.key, effect.place.kind, effect.place.path) for effect in field_effects("shard", "f.yaml", document)]
    assert effects == [(key, "shard", 'config_files[f.yaml].a[0]["b.c"]') for key in ("one", "two")]
    assert plain(document) == {"a": [{"name": "x", "b.c": 5}, {"anchor": 1}], "d": {"anchor": 1}}
    assert plain(document)["a"][1] is plain(document)["d"], "YAML writes an anchor for it, as without marks"
