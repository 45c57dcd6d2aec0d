"""Stacks that do what prod does not, and one in which every setting has another value."""

import json
import re

from settings import load
from settings.error_messages import key_text
from settings.flatten import document
from tests.infra.kubernetes.conftest import settings_of

RECEIVERS = [
    {"name": "team", "kind": "slack", "secretName": "slack"},
    {
        "name": "mail",
        "kind": "email",
        "secretName": "smtp",
        "severities": ["page"],
        "to": "ops@example.com",
        "from": "alerts@example.com",
        "smarthost": "smtp.example.com:587",
    },
]
# What prod does not do; several at once where they do not touch.
VARIATIONS = {
    "prod": {},
    "verbatim": {"sizing": {"mode": "verbatim"}},
    "spot, named": {
        "gpuPool": {"spot": True, "usdPerHour": 3.5},
        "azure": {"nameSuffix": "abc123", "tags": {"cost center": "7"}},
        "images": {"coordinator": "ours/coordinator:2.0", "shard": "ours/shard:2.0"},
    },
    "llama.cpp on two GPUs, images by name": {
        "engine": "llama_cpp",
        "engineArguments": {"--keep": 10},
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "images": {"coordinator": "docker.io/ours/envoy:1.0", "shard": "ours/llama:1.0"},
    },
    "llama.cpp behind every lock": {
        "engine": "llama_cpp",
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "exposure": {
            "public": True,
            "allowedIpRanges": ["20.42.7.0/24"],
            "tls": {"secretName": "front-door", "clientCaSecretName": "clients"},
            "apiKeys": {"secretName": "keys"},
        },
        "coordinator": {"limits": {"requestsPerMinutePerClient": 77, "requestTokens": 2048}},
        "rollout": {"terminationGrace": "90s"},
    },
    "limits for each client, somebody hears of alerts": {
        "coordinator": {"limits": {"requestsPerMinutePerClient": 77, "requestTokens": 2048}},
        "monitoring": {"receivers": RECEIVERS},
    },
    "llama.cpp, nothing batched": {
        "engine": "llama_cpp",
        "gpuPool": {"vmSize": "Standard_NC96ads_A100_v4"},
        "sharding": {"shardsCount": 1, "layersPerShard": 80},
        "coordinator": {"config": {"dynamicBatching": {"enabled": False}}},
        "autoscaling": {"enabled": True},
    },
    "llama.cpp, verbatim": {
        "engine": "llama_cpp",
        "sizing": {"mode": "verbatim"},
        "gpuPool": {"vmSize": "Standard_NC24ads_A100_v4"},
        "sharding": {"shardsCount": 1, "layersPerShard": 80},
        "model": {"quantization": {"precision": "int4"}, "kvCache": {"maxCacheSize": "4Gi"}},
    },
    "vllm on two GPUs, images by name": {
        "engine": "vllm",
        "engineArguments": {"--max-log-len": 100},
        "coordinator": {"limits": {"requestTokens": 2048}},
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "images": {"coordinator": "docker.io/ours/envoy:1.0", "shard": "ours/vllm:1.0"},
    },
    "vllm as a Ray group on V100": {"engine": "vllm"},
    "vllm as two Ray groups on H100": {
        "engine": "vllm",
        "gpuPool": {"vmSize": "Standard_ND96isr_H100_v5"},
        "model": {"name": "llama-3.1-405b", "quantization": {"precision": "fp16"}},
        "sharding": {"shardsCount": 16, "layersPerShard": None, "pipelines": 2},
        "shard": {"config": {"memoryMapping": False}},
    },
    "vllm, nothing batched or kept": {
        "engine": "vllm",
        "gpuPool": {"vmSize": "Standard_NC96ads_A100_v4"},
        "caching": {"l1Cache": {"enabled": False}},
        "model": {"kvCache": {"compression": False}, "attention": {"flashAttention": False}},
        "coordinator": {"config": {"dynamicBatching": {"enabled": False}}},
        "autoscaling": {"enabled": True},
    },
    "vllm, verbatim": {
        "engine": "vllm",
        "sizing": {"mode": "verbatim"},
        "gpuPool": {"vmSize": "Standard_NC24ads_A100_v4"},
        "model": {"quantization": {"precision": "int4"}, "kvCache": {"maxCacheSize": "4Gi"}},
    },
    "vllm on two GPUs, fetched weights on the node": {
        "engine": "vllm",
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "model": {"source": f"hf://meta-llama/Llama-2-70b-hf@{'0' * 40}", "tokenSecret": {"name": "hub", "key": "token"}},
    },
    "llama.cpp, weights on the node": {
        "engine": "llama_cpp",
        "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"},
        "model": {"source": f"hf://org/name@{'0' * 40}/name.Q8_0.gguf"},
        "caching": {"l2Cache": {"size": "100Gi", "persistent": False}},
        "rollout": {"weightsRetention": "14d"},
    },
    "fetched with a token": {
        "model": {"source": f"hf://meta-llama/Llama-2-70b@{'0' * 40}", "tokenSecret": {"name": "hub", "key": "token"}},
        "images": {"weights": "docker.io/ours/python:3.14"},
        "rollout": {"weightsRetention": "30d"},
    },
    "autoscaling": {"autoscaling": {"enabled": True}},
    "four pipelines, pool bounds": {"gpuPool": {"minNodes": 4, "maxNodes": 10}, "sharding": {"pipelines": 4}},
    "no third cache, no budget, no huge pages": {
        "caching": {"l3Cache": {"enabled": False}, "l2Cache": {"persistent": False}},
        "budget": {"monthlyUsd": None},
        "shard": {"config": {"useHugePages": False}},
    },
    "no second cache, redis by name, kernel": {
        "caching": {"l2Cache": {"enabled": False}},
        "redis": {"sku": "Balanced_B250"},
        "gpuPool": {"sysctls": {"net.core.somaxconn": 4096, "net.ipv4.tcp_tw_reuse": 1}},
        "nodeTuning": {"overcommitMemory": 2},
    },
    "mig": {"gpuPool": {"vmSize": "Standard_NC24ads_A100_v4", "mig": "MIG2g"}},
    "private, administrators": {
        "cluster": {
            "private": True,
            "encryptionAtHost": True,
            "adminGroupObjectIds": ["11111111-2222-3333-4444-555555555555"],
            "controlPlaneLogs": False,
        },
        "azure": {"network": {"buildersCidr": "10.64.9.0/27"}},
    },
    "inside only, unwatched": {
        "coordinator": {"service": {"type": "ClusterIP", "annotations": {}}},
        "monitoring": {"enabled": False},
        "profiling": {"enabled": False},
    },
    "no resources asked for": {
        "shard": {"resources": None},
        "coordinator": {"resources": {side: {"cpu": None, "memory": None} for side in ("requests", "limits")}},
    },
    "public, size switched, own model": {
        "exposure": {"public": True, "allowedIpRanges": ["20.42.7.0/24"]},
        "gpuPool": {"vmSize": "Standard_NC24ads_A100_v4"},
        "shard": {"env": [{"name": "HUB_ACCESS", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "entry"}}}]},
        "model": {
            "name": "ours",
            "shape": {
                "paramsB": 8.03,
                "layers": 32,
                "hidden": 4096,
                "heads": 32,
                "kvHeads": 8,
                "headDim": 128,
                "intermediate": 14336,
                "vocab": 128256,
                "context": 8192,
                "activeParamsB": 4.5,
                "experts": {"count": 8, "perToken": 2, "intermediate": 1792, "denseLayers": 1},
                "windows": {"layers": 8, "tokens": 128},
                "state": {"layers": 8, "requestBytes": 1000000},
                "checkpoint": {"precision": "fp8", "method": "fp8", "bytesPerWeight": 1.0, "paramsB": 6.5},
            },
        },
        "sharding": {"layersPerShard": 4},
    },
}


def variation(name):
    return checked(merged(document(settings_of("prod")), VARIATIONS[name]))


def merged(value, change):
    """Mappings are merged, None takes a key out, all else is replaced."""
    if not isinstance(value, dict) or not isinstance(change, dict):
        return change
    both = {key: merged(value.get(key), change[key]) if key in change else kept for key, kept in value.items()}
    return {key: child for key, child in (both | {k: v for k, v in change.items() if k not in value}).items() if child is not None}


def checked(sections):
    """Settings that `pulumi up` would take."""
    return load({name: section if isinstance(section, str) else json.dumps(section) for name, section in sections.items()})


# Another valid value, where the next number or a longer word is none.
OTHER = {
    "shard.config.gpuMemoryFraction": 0.85,
    "shard.config.memoryAllocator": "tcmalloc",
    "shard.config.threadScheduler": "rr",
    "shard.config.serializationFormat": "flatbuffers",
    "shard.config.compressionAlgorithm": "zstd",
    "shard.resources.requests.cpu": "8",
    "shard.resources.limits.cpu": "16",
    "shard.topologySpreadConstraints[0].topologyKey": "kubernetes.io/hostname",
    "shard.topologySpreadConstraints[0].whenUnsatisfiable": "ScheduleAnyway",
    "shard.nodeSelector.node.kubernetes.io/instance-type": "Standard_NC48ads_A100_v4",
    "model.name": "llama-3-70b",
    "model.quantization.precision": "int4",
    "model.quantization.method": "compressed-tensors",
    "model.shape.checkpoint.precision": "int8",
    "model.shape.checkpoint.method": "gptq",
    "model.kvCache.evictionPolicy": "lfu",
    "model.attention.sparseAttention.sparsityPattern": "strided",
    "model.compilation.tensorrt.precision": "int8",
    "model.compilation.onnxRuntime.optimizationLevel": "basic",
    # Of 80 layers.
    "sharding.shardsCount": 10,
    "sharding.layersPerShard": 8,
    "sharding.loadBalancing": "static",
    "sharding.affinityRules[0].operator": "NotIn",
    "sharding.affinityRules[0].values": ["0-39", "40-79"],
    "coordinator.config.loadBalancingStrategy": "random",
    "coordinator.config.requestRouting": "least_loaded",
    # 10 s, so that a shard keeps serving longer than it must for the guide's 5 s.
    "coordinator.config.healthCheckInterval": "10s",
    "monitoring.enabled": True,
    "monitoring.receivers": RECEIVERS,
    "images.nodeTuning": "docker.io/library/debian:13.2-slim",
    "images.weights": "docker.io/library/python:3.13.14-slim",
    "nodeTuning.transparentHugePages": "madvise",
    "nodeTuning.overcommitMemory": 2,
    "targets.gpuMemory": "70%",
    "targets.availability": "99%",
    "sizing.mode": "verbatim",
    "azure.location": "westeurope",
    "azure.namePrefix": "other",
    "azure.network.addressSpace": "10.80.0.0/16",
    "azure.network.nodesCidr": "10.80.0.0/22",
    "azure.network.privateEndpointsCidr": "10.80.8.0/24",
    "azure.network.buildersCidr": "10.80.10.0/27",
    "azure.network.podCidr": "10.128.0.0/16",
    "azure.network.serviceCidr": "10.81.0.0/16",
    "cluster.kubernetesVersion": "1.35",
    "cluster.tier": "Premium",
    "cluster.authorizedIpRanges": ["20.42.8.0/24"],
    "cluster.adminGroupObjectIds": ["11111111-2222-3333-4444-555555555555"],
    "cluster.systemPool.vmSize": "Standard_D16ds_v5",
    "cluster.zones": ["1", "2"],
    "cluster.maintenance.day": "Monday",
    "cluster.maintenance.start": "03:00",
    "cluster.leaderWorkerSetVersion": "0.8.1",
    "gpuPool.vmSize": "Standard_NC48ads_A100_v4",
    "gpuPool.zones": ["2", "3"],
    "gpuPool.cpuManagerPolicy": "none",
    "gpuPool.topologyManagerPolicy": "restricted",
    "gpuPool.sysctls": {"net.core.somaxconn": 4096},
    "exposure.allowedIpRanges": ["20.42.7.0/24"],
    "budget.monthlyUsd": 70000.0,
    "budget.alertEmails": ["operations@example.com"],
    "budget.alertRoles": ["Owner", "Reader"],
}
# The only value there is, one that would switch others off or the shards' GPU away: VARIATIONS has their other values.
KEPT = {
    "sharding.strategy",
    "sharding.overlapLayers",
    "caching.l1Cache.enabled",
    "caching.l2Cache.enabled",
    "caching.l2Cache.persistent",
    "caching.l3Cache.enabled",
    "caching.l3Cache.backend",
    "coordinator.service.type",
    "monitoring.enabled",
    "profiling.enabled",
    "shard.config.useHugePages",
    "shard.resources.requests.nvidia.com/gpu",
    "shard.resources.limits.nvidia.com/gpu",
    "engine",
    "engineArguments",
    "cluster.private",
    "gpuPool.spot",
}


def other(path, value):
    """Another valid value for a leaf."""
    key = key_text(path)
    if key in OTHER:
        return OTHER[key]
    if key in KEPT:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if value in ("true", "false"):
        return "false" if value == "true" else "true"
    if number := re.fullmatch(r"(\d+)(\D*)", value):
        return f"{int(number[1]) + 1}{number[2]}"
    return f"{value}x"


def replaced(value, path=()):
    """A document with another value at each leaf."""
    if isinstance(value, dict) and value:
        return {key: replaced(child, (*path, key)) for key, child in value.items()}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_item(item, path, index) for index, item in enumerate(value)]
    return other(path, value)


def _item(item, path, index):
    """An item that has a name keeps it, as the rest is found by it."""
    if "name" not in item:
        return replaced(item, (*path, index))
    return {"name": item["name"]} | {key: other((*path, item["name"]), value) for key, value in item.items() if key != "name"}


def all_changed():
    return checked(replaced(document(settings_of("prod"))))
