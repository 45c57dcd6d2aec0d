"""What changes in a rendered server when one setting changes is what its effects name; no process is started.

Each setting of some stacks gets another value, one at a time. The stacks are planned as they are written (`sizing.mode: verbatim`), so that
no rule changes a second setting: what the rules change is the plan's findings to say.
"""

import functools

import pytest

from engines.flags import Flag, Variable, field, field_effects, plain
from engines.workload import Env
from planner.engine_facts import NAMES
from settings import SettingsError, files
from settings.error_messages import key_text
from settings.flatten import document, with_values
from tests.engines.differences import Rendered, differences, unnamed
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
    return checked(STACKS[name])


def checked(changed):
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    return variations.checked(variations.merged(document(prod), changed))


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


def test_each_engine_has_a_stack_here():
    assert {stack.get("engine", "zig_ai") for stack in STACKS.values()} == set(NAMES), "add one to STACKS"


@functools.cache
def compared(name):
    """What is changed and not named, the refused settings, and whether each named place changed: by setting."""
    before, wrong, refused, changed = Rendered(stack(name)), {}, {}, {}
    for key, path, value in changes(name):
        try:
            after = Rendered(with_values(stack(name), {path: value}))
        except SettingsError as error:
            refused[key] = str(error)
            continue
        left_out = [part for setting, part in BY_WAY_OF_THE_PLAN if setting == key]
        found = {place for place in unnamed(before, after, key) if not any(part in ("", *map(str, place)) for part in left_out)}
        if found:
            wrong[key] = found
        differing = differences(before, after)
        for place in before.in_force(key) | after.in_force(key) if key not in variations.KEPT else ():
            changed[key, place] = any(part[: len(place)] == place or place[: len(part)] == part for part in differing)
    return wrong, refused, changed


@pytest.mark.parametrize("name", STACKS)
def test_what_changes_with_a_setting_is_what_its_effects_name(name):
    wrong, refused, _ = compared(name)
    assert wrong == {}
    assert set(refused) <= set(REFUSED), refused


NOT_IN_THESE_STACKS = {
    ("coordinator.config.healthCheckInterval", "timeout"): "only below 3 s",
    ("coordinator.resources.limits.memory", "refresh_interval"): "only where there is no limit",
    ("coordinator.resources.limits.memory", "actions"): "the same",
    ("model.kvCache.maxCacheSize", "--max-model-len"): "only where the cache is smaller than a request may be",
    ("shard.config.gpuMemoryFraction", "--kv-cache-memory-bytes"): "only where the memory bounds the cache",
    ("shard.config.gpuMemoryFraction", "--num-gpu-blocks-override"): "the same",
    ("shard.resources.limits.nvidia.com/gpu", "--distributed-executor-backend"): "only from one GPU to several",
}
"""Places that a setting decides in other stacks than these, with the reason."""


@pytest.mark.parametrize("engine", sorted({stack(name).engine for name in STACKS}))
def test_what_an_effect_names_changes_with_its_setting(engine):
    ever = {}
    for name in STACKS:
        if stack(name).engine == engine:
            for (key, place), differs in compared(name)[2].items():
                ever[key, place] = ever.get((key, place), False) or differs
    never = {(key, place) for (key, place), differs in ever.items() if not differs}
    # What comes and goes with `exposure` is added below.
    assert {
        (key, place)
        for key, place in never
        if not key.startswith("exposure.") and not any((key, part) in NOT_IN_THESE_STACKS for part in place)
    } == set()


ADDED = {
    ("exposure", "tls"): {"secretName": "front-door"},
    ("exposure", "tls", "clientCaSecretName"): "clients",
    ("exposure", "apiKeys"): {"secretName": "keys"},
    ("exposure", "allowedOrigins"): ["https://chat.example.com"],
    ("coordinator", "limits", "requestsPerMinutePerClient"): 60,
    ("coordinator", "limits", "requestTokens"): 512,
    ("images", "coordinator"): "ours/envoy:1.0",
}
"""Settings that a stack may be without."""
WITH = {
    "clientCaSecretName": {"exposure": {"tls": {"secretName": "front-door"}}},
    "apiKeys": {"coordinator": {"limits": {"requestsPerMinutePerClient": 77}}},
}
"""What some of them need, or change."""


@pytest.mark.parametrize("path", ADDED, ids=".".join)
def test_what_comes_with_a_setting_is_what_its_effects_name(path):
    less = {section: kept for section, kept in STACKS["llama.cpp"].items() if section not in ("exposure", "coordinator")}
    settings = checked(less | WITH.get(path[-1], {}))
    before, after = Rendered(settings), Rendered(with_values(settings, {path: ADDED[path]}))
    assert before.values != after.values
    # TLS has a port in place of the other.
    assert unnamed(before, after, key_text(path)) <= {("coordinator", "ports", ("http", 0))}


def test_an_image_of_the_stacks_own_is_not_restarted_for_its_silence():
    settings = checked(STACKS["llama.cpp"])
    before, after = Rendered(settings), Rendered(with_values(settings, {("images", "shard"): "ours/llama:1.0"}))
    assert {place[1] for place in unnamed(before, after, "images.shard")} == {"livenessProbe"}, "its times change with what it asks"
    [effect] = [effect for effect in after.workload.effects if effect.key == "images.shard" and effect.because]
    assert effect.place.path == "livenessProbe.httpGet" and before.workload.shard.liveness.command


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
