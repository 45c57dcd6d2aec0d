"""Every leaf of the guide's YAML blocks reaches one named field of one object in the cluster, and follows when it changes.

`field_of` is the list: key -> object -> field. It is tried twice, with the guide's values and with all of them changed, so that a
field that merely happens to hold the guide's value is found out.
"""

import functools
import json
import re

import pytest
import yaml

from infra.kubernetes import names
from settings import load
from settings.stack_file import open_stack_file
from stacks.config import PROJECT, ROOT
from tests.infra.kubernetes.conftest import deploy_settings
from tests.settings.guide_blocks import BLOCKS, content, leaves

LWS = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"


@functools.cache
def guide_leaves():
    found = {}
    for block in BLOCKS:
        found |= leaves(content(block))
    return found


read = functools.cache(functools.partial(yaml.load, Loader=yaml.CSafeLoader))


def at(document, path):
    """The value at a path of keys and indices; list items also by their `name`."""
    for key in path:
        if isinstance(document, list) and isinstance(key, str):
            document = {item["name"]: item for item in document}
        document = document[key]
    return document


def config_file(deployed, owner, name):
    [config] = [r.inputs for r in deployed.recorder.all(CONFIG_MAP) if r.inputs["metadata"]["name"].startswith(f"{owner}-config-")]
    return read(config["data"][name])


def shard_pod(deployed):
    return deployed.recorder.one(LWS).inputs["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]


def scrape_job(deployed, metric):
    config = deployed.inputs(CONFIG_MAP, names.PROMETHEUS)["data"]["prometheus.yml"]
    return next(job for job in read(config)["scrape_configs"] if job["job_name"] == metric)


def field_of(deployed, key):
    """What the cluster holds for a key of the guide. A key without a line here is a setting that is silently dropped."""
    coordinator = functools.partial(config_file, deployed, names.COORDINATOR, "coordinator.yaml")
    shard = functools.partial(config_file, deployed, names.SHARD, "shard.yaml")
    service = functools.partial(deployed.inputs, "kubernetes:core/v1:Service", names.COORDINATOR_SERVICE)
    match key:
        case ("shard", "config", *_):
            return at(shard(), key)
        case ("coordinator", "config", *_):
            return at(coordinator(), key)
        case ("model" | "sharding" | "caching", *_):
            assert at(shard(), key) == at(coordinator(), key), "coordinator and shards must not disagree"
            return at(shard(), key)
        case ("shard", "env", name, field):
            return at(shard_pod(deployed)["containers"][0]["env"], (name, field))
        case ("shard", "resources", kind, resource):
            return shard_pod(deployed)["containers"][0]["resources"][kind][resource]
        case ("shard", "nodeSelector", label):
            return shard_pod(deployed)["nodeSelector"][label]
        case ("shard", "topologySpreadConstraints", index, field):
            return shard_pod(deployed)["topologySpreadConstraints"][index][field]
        case ("coordinator", "service", "type"):
            return service()["spec"]["type"]
        case ("coordinator", "service", "annotations", name):
            return service()["metadata"]["annotations"][name]
        case ("monitoring", "enabled"):
            return bool(deployed.inputs("kubernetes:apps/v1:Deployment", names.PROMETHEUS))
        case ("monitoring", "metrics", metric, "name"):
            return scrape_job(deployed, metric)["job_name"]
        case ("monitoring", "metrics", metric, "interval"):
            return scrape_job(deployed, metric)["scrape_interval"]
        case ("profiling", *_):
            return at(read(deployed.inputs(CONFIG_MAP, names.PROFILING_CONFIG)["data"]["profiling.yaml"]), key)
    raise AssertionError(f"{key} is rendered nowhere")


# Where the next number or a longer word is not another valid value, or only together with another key.
OTHER = {
    ("shard", "config", "gpuMemoryFraction"): 0.9,
    ("shard", "config", "memoryAllocator"): "tcmalloc",
    ("shard", "config", "threadScheduler"): "rr",
    ("shard", "config", "serializationFormat"): "flatbuffers",
    ("shard", "config", "compressionAlgorithm"): "zstd",
    ("shard", "resources", "requests", "cpu"): "8",
    ("shard", "resources", "limits", "cpu"): "16",
    ("shard", "topologySpreadConstraints", 0, "topologyKey"): "kubernetes.io/hostname",
    ("shard", "topologySpreadConstraints", 0, "whenUnsatisfiable"): "ScheduleAnyway",
    ("model", "quantization", "precision"): "int4",
    ("model", "kvCache", "evictionPolicy"): "lfu",
    ("model", "attention", "sparseAttention", "sparsityPattern"): "strided",
    ("model", "compilation", "tensorrt", "precision"): "int8",
    ("model", "compilation", "onnxRuntime", "optimizationLevel"): "basic",
    # Of 80 layers.
    ("sharding", "shardsCount"): 10,
    ("sharding", "layersPerShard"): 8,
    ("sharding", "loadBalancing"): "static",
    ("sharding", "affinityRules", 0, "operator"): "NotIn",
    ("coordinator", "config", "loadBalancingStrategy"): "random",
    ("coordinator", "config", "requestRouting"): "least_loaded",
}
# Not changed: the only value there is, one that others depend on, or a name by which the rest is found. Other tests change them.
KEPT = {
    ("sharding", "strategy"),
    ("sharding", "overlapLayers"),
    ("caching", "l3Cache", "backend"),
    ("coordinator", "service", "type"),
    ("monitoring", "enabled"),
    ("shard", "nodeSelector", "node.kubernetes.io/instance-type"),
    ("shard", "resources", "requests", "nvidia.com/gpu"),
    ("shard", "resources", "limits", "nvidia.com/gpu"),
}


def other(key, value):
    """Another valid value for a leaf."""
    if key in OTHER:
        return OTHER[key]
    if key in KEPT or key[-1] == "name":
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value in ("true", "false"):
        return "false" if value == "true" else "true"
    if number := re.fullmatch(r"(\d+)(\D*)", value):
        return f"{int(number[1]) + 1}{number[2]}"
    return f"{value}x"


def replaced(value, path=()):
    """A section with other values, down to its leaves; paths as `leaves` has them."""
    if isinstance(value, dict):
        return {key: replaced(child, (*path, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [
            replaced(child, (*path, child["name"] if isinstance(child, dict) and "name" in child else index))
            for index, child in enumerate(value)
        ]
    return other(path, value) if path in guide_leaves() else value


@functools.cache
def stack(change):
    sections = {name: json.loads(text) for name, text in open_stack_file(ROOT / "Pulumi.prod.yaml", PROJECT).sections.items()}
    if change:
        sections = {name: replaced(section, (name,)) for name, section in sections.items()}
    return deploy_settings(load({name: json.dumps(section) for name, section in sections.items()}))


def as_rendered(key, value):
    """Kubernetes' resource lists are text."""
    return str(value) if key[:2] == ("shard", "resources") else value


@pytest.mark.parametrize("key", guide_leaves(), ids=lambda key: ".".join(map(str, key)))
def test_the_guides_value_is_in_force(key):
    assert field_of(stack(change=False), key) == as_rendered(key, guide_leaves()[key])


@pytest.mark.parametrize("key", [key for key in guide_leaves() if key not in KEPT], ids=lambda key: ".".join(map(str, key)))
def test_a_changed_value_is_in_force(key):
    assert field_of(stack(change=True), key) == as_rendered(key, other(key, guide_leaves()[key]))


def test_changing_changes():
    unchanged = {key for key, value in guide_leaves().items() if other(key, value) == value and key not in KEPT and key[-1] != "name"}
    assert not unchanged
