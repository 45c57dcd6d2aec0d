"""Stacks for the planner's tests: the guide's shard, and any that hypothesis can think of."""

import json
from typing import Any

from hypothesis import strategies as st

from planner import plan
from planner.catalogue import hardware, model_shapes
from planner.engine_facts import NAMES
from settings import StackSettings, files

GUIDE_SHARD: dict[str, Any] = {
    "resources": {
        "requests": {"nvidia.com/gpu": 1, "memory": "64Gi", "cpu": "16"},
        "limits": {"nvidia.com/gpu": 1, "memory": "128Gi", "cpu": "32"},
    },
    "nodeSelector": {"node.kubernetes.io/instance-type": "Standard_NC24s_v3"},
}


def settings(**sections) -> StackSettings:
    """The guide's shards with other sections; values as a stack file has them."""
    sections = {"shard": GUIDE_SHARD, "sharding": {"shardsCount": 8, "layersPerShard": 10}} | sections
    return StackSettings.model_validate_json(json.dumps(sections))


def verbatim(**sections) -> StackSettings:
    return settings(sizing={"mode": "verbatim"}, **sections)


def stack(name: str) -> StackSettings:
    """A stack of the repository."""
    found = files.from_file(files.stack_file_path(name), name).require()
    assert found is not None
    return found


A100 = {"vmSize": "Standard_NC24ads_A100_v4"}
H100 = {"vmSize": "Standard_NC40ads_H100_v5"}


def findings(asked):
    return plan(asked).findings


def shard(**config):
    return GUIDE_SHARD | {"config": config}


def with_env(**variables):
    return GUIDE_SHARD | {"env": [{"name": name, "value": value} for name, value in variables.items()]}


def resources(cpu, memory, limit_cpu=None, limit_memory=None, gpus=1):
    requests = {"nvidia.com/gpu": gpus, "cpu": cpu, "memory": memory}
    return {
        "resources": {"requests": requests, "limits": requests | {"cpu": limit_cpu or cpu, "memory": limit_memory or memory}},
    }


def llama_cpp(**sections):
    """The guide's shards with an engine that keeps a pipeline in one pod, on a node whose two GPUs hold the model."""
    return settings(**{"engine": "llama_cpp", "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}} | sections)


GGUF = f"hf://org/name-GGUF@{'0' * 40}/name.Q8_0.gguf"


def fetched(**sections):
    """The same with weights that each node keeps a copy of."""
    return llama_cpp(**{"model": {"source": GGUF}} | sections)


def vllm(size="Standard_NC48ads_A100_v4", **sections):
    """The guide's shards with an engine that lets the GPUs of a pod share each layer."""
    return settings(engine="vllm", gpuPool={"vmSize": size}, **sections)


PUBLIC = {"public": True, "allowedIpRanges": ["20.1.2.0/24"]}


DRIVEN_SIZES = [name for name in hardware.gpu_size_names() if hardware.gpu_size(name, "eastus").aks_driver]


@st.composite
def any_settings(draw, mode="fitted"):
    """Any shards of any model on any size, whether they fit or not."""
    gpus = draw(st.sampled_from([1, 1, 1, 2, 4]))
    request_cpu, request_gib = draw(st.integers(1, 40)), draw(st.integers(1, 300))
    resources = {
        "requests": {"nvidia.com/gpu": gpus, "memory": f"{request_gib}Gi", "cpu": str(request_cpu)},
        "limits": {
            "nvidia.com/gpu": gpus,
            "memory": f"{request_gib + draw(st.integers(0, 200))}Gi",
            "cpu": str(request_cpu + draw(st.integers(0, 30))),
        },
    }
    shard = {
        "resources": resources,
        "config": {
            "threadPinning": draw(st.booleans()),
            "useHugePages": draw(st.booleans()),
            "workerThreads": draw(st.integers(1, 64)),
            "ioThreads": draw(st.integers(1, 64)),
            "gpuMemoryFraction": draw(st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0])),
        },
        "env": [{"name": "OPENBLAS_NUM_THREADS", "value": str(draw(st.integers(1, 64)))}],
        "topologySpreadConstraints": draw(st.sampled_from([[], [{"maxSkew": draw(st.integers(1, 3)), **HARD_OVER_ZONES}]])),
    }
    return settings(
        shard=shard,
        model={
            "name": draw(st.sampled_from(sorted(model_shapes.models()))),
            "quantization": {"precision": draw(st.sampled_from(["fp16", "bf16", "fp8", "int8", "int4"]))},
            "kvCache": {"maxCacheSize": f"{draw(st.integers(1, 200))}Gi", "compression": draw(st.booleans())},
        },
        sharding={"shardsCount": draw(st.sampled_from([1, 2, 4, 5, 8, 16])), "pipelines": draw(st.integers(1, 5))},
        gpuPool={
            "vmSize": draw(st.sampled_from(DRIVEN_SIZES)),
            "zones": draw(st.sampled_from([[], ["1"], ["1", "2"], ["1", "2", "3"]])),
            "cpuManagerPolicy": draw(st.sampled_from(["none", "static"])),
        },
        nodeTuning={"hugePages2Mi": draw(st.sampled_from([0, 256, 1024]))},
        monitoring={"enabled": draw(st.booleans())},
        engine=draw(st.sampled_from(["zig_ai", *NAMES])),
        sizing={"mode": mode},
    )


HARD_OVER_ZONES = {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
