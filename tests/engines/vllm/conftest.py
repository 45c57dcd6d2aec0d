"""prod with vLLM, on many kinds of nodes."""

import pytest

from engines import ENGINES
from infra.endpoints import endpoints
from planner import plan as make_plan
from settings import files
from settings.flatten import with_values

SIZE = ("gpuPool", "vmSize")
H200S = "Standard_ND96isr_H200_v5"
A100S, H100S, V100S, T4 = "Standard_NC48ads_A100_v4", "Standard_ND96isr_H100_v5", "Standard_NC24s_v3", "Standard_NC4as_T4_v3"


def asked(size, values=None):
    """prod with this engine; it has `sizing.mode: fitted`."""
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    return with_values(prod, {("engine",): "vllm", SIZE: size} | (values or {}))


def rendered(settings):
    plan = make_plan(settings)
    names = endpoints(plan, registry="registry.example", redis=None)
    return ENGINES["vllm"].render(plan.settings, plan, names), plan


LARGE = {("model", "name"): "llama-3.1-405b", ("model", "quantization", "precision"): "fp16", ("sharding", "layersPerShard"): None}
SMALL = {("model", "name"): "llama-2-7b", ("sharding", "layersPerShard"): None, ("model", "kvCache", "maxCacheSize"): "2Gi"}
BATCHING = ("coordinator", "config", "dynamicBatching")
VARIANTS = {
    "two A100": lambda: asked(A100S),
    "eight H100": lambda: asked(H100S),
    "two nodes of V100": lambda: asked(V100S),
    "two nodes of H100, FP16": lambda: asked(H100S, LARGE | {("sharding", "shardsCount"): 16}),
    "eight stages, verbatim": lambda: asked(A100S, {("sizing", "mode"): "verbatim", ("model", "kvCache", "maxCacheSize"): "4Gi"}),
    "one T4": lambda: asked(T4, SMALL),
    "one request at a time, in order": lambda: asked(A100S, {(*BATCHING, "enabled"): False, (*BATCHING, "priorityBatching"): False}),
    "nothing compressed, nothing kept": lambda: asked(
        A100S, {("model", "kvCache", "compression"): False, ("caching", "l1Cache", "enabled"): False}
    ),
    "no flash attention, read instead of mapped": lambda: asked(
        H100S, {("model", "attention", "flashAttention"): False, ("shard", "config", "memoryMapping"): False}
    ),
    "in BF16, without graphs": lambda: asked(
        H100S, {("model", "quantization", "precision"): "bf16", ("shard", "env", "CUDA_ENABLE_GRAPHS"): "false"}
    ),
    "not quantised": lambda: asked(H100S, {("model", "quantization", "enabled"): False}),
    "one latent vector for all heads": lambda: asked(
        H200S, {("model", "name"): "deepseek-v3", ("model", "quantization", "precision"): "int4", ("sharding", "layersPerShard"): None}
    ),
}


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request):
    return VARIANTS[request.param]()


@pytest.fixture(scope="module")
def a100s():
    return rendered(asked(A100S))


@pytest.fixture(scope="module")
def v100s():
    return rendered(asked(V100S))


def environment(server):
    return {one.name: one.value for one in server.env}


def release_of(server):
    return server.image.removeprefix("docker.io/vllm/vllm-openai:v")
