"""vLLM's environment variables, each with the settings that it answers."""

from __future__ import annotations

import math

from engines.envoy.pipeline_server import HOME
from engines.flags import Variable, in_force, not_supported, passed_through, translated
from engines.pods import GRAPHS_VARIABLE, env_key, variable, without_cuda_graphs
from engines.vllm import ray_group
from engines.vllm.command_line import GPUS, release
from engines.workload import Env
from planner.engine_facts.vllm import RELEASE_ON_VOLTA, cited
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect

_READ_BY = {
    "CUDA_VISIBLE_DEVICES": "NVIDIA CUDA programming guide: environment variables",
    "CUDA_DEVICE_ORDER": "NVIDIA CUDA programming guide: environment variables",
    "CUDA_CACHE_PATH": "NVIDIA CUDA programming guide: environment variables",
    "OPENBLAS_NUM_THREADS": "OpenBLAS README, environment variables: NumPy's wheels bring it",
    "MKL_NUM_THREADS": "pytorch.org/docs/stable/notes/cpu_threading_torchscript_inference: PyTorch's wheels are built with MKL",
}
"""Variables that the image's libraries read, with the source of that."""
_NO_HEAP = "Python's collector has no heap of a size of its own, and no threads"
_NOT_READ = {
    "CUDA_MEMORY_POOL_SIZE": "weights and cache are allocated once, at start; --gpu-memory-utilization bounds them",
    "GC_INITIAL_HEAP_SIZE": _NO_HEAP,
    "GC_MAXIMUM_HEAP_SIZE": _NO_HEAP,
    "GC_THREADS": _NO_HEAP,
    "ENABLE_AVX512": "nothing reads it: PyTorch takes the best instructions of the CPU by itself",
}
"""Variables that nothing reads, with the reason."""


def variables(settings: StackSettings, plan: Plan) -> tuple[Variable, ...]:
    """All variables of each pod of a pipeline, the stack's own before the engine's."""
    runs = release(plan)
    return (
        *(Variable(variable(entry), _effect(entry.name, settings, runs)) for entry in settings.shard.env),
        Variable(Env(name="HOME", value=HOME), why="the root file system is read-only, and compiled kernels are kept below HOME"),
        Variable(Env(name="USER", value="vllm"), why="PyTorch asks for the user's name, which /etc/passwd lacks (vllm-project/vllm#44548)"),
        Variable(Env(name="HF_HUB_OFFLINE", value="1"), why="the model is a folder that is there, and nothing is to be fetched"),
        Variable(Env(name="VLLM_NO_USAGE_STATS", value="1"), why="nothing is reported to anybody"),
        Variable(Env(name="VLLM_DO_NOT_TRACK", value="1"), why="nothing is reported to anybody"),
        _threads(settings, plan),
        *(_on_volta() if runs == RELEASE_ON_VOLTA else _on_others(settings)),
        *(_group(plan) if len(plan.shards) > 1 else ()),
    )


def _effect(name: str, settings: StackSettings, runs: str) -> Effect:
    """What becomes of a variable of `shard.env` with this release of vLLM."""
    key = env_key(name)
    if name in _READ_BY:
        return in_force(key, source=_READ_BY[name])
    if name == GRAPHS_VARIABLE:
        given = "--enforce-eager" if without_cuda_graphs(settings) else "CUDA graphs, which are the default"
        return translated(key, "vLLM has a flag for it and reads no variable", cited(runs, "vllm/config/model.py"), given=given)
    if name in _NOT_READ:
        return not_supported(key, _NOT_READ[name], cited(runs, "vllm/envs.py"))
    return passed_through(key)


def _threads(settings: StackSettings, plan: Plan) -> Variable:
    """The GPUs of a pod have a process each."""
    name = "OMP_NUM_THREADS"
    asked = {entry.name: entry.value for entry in settings.shard.env}
    threads = asked.get(name, str(max(1, settings.shard.config.worker_threads // max(1, plan.pod.gpus))))
    shared_out = translated(
        "shard.config.workerThreads",
        "each GPU of a pod has a process, and the threads are shared out among them",
        cited(release(plan), "vllm/v1/executor/multiproc_executor.py"),
        given=f"{name}={threads} in each GPU's process",
    )
    return Variable(Env(name=name, value=threads or ""), shared_out, GPUS)


def _on_volta() -> tuple[Variable, ...]:
    kernels = "XFormers' kernels, fused too, and vLLM's own for the cache: FlashAttention 2 has none for this GPU"
    source = cited(RELEASE_ON_VOLTA, "vllm/platforms/cuda.py")
    attention = (translated(f"model.attention.{name}", kernels, source) for name in ("flashAttention", "fusedAttention"))
    return (
        Variable(Env(name="VLLM_USE_V1", value="0"), why="its V1 engine needs compute capability 8.0: vllm/engine/arg_utils.py"),
        Variable(Env(name="VLLM_ATTENTION_BACKEND", value="XFORMERS"), *attention),
    )


def _on_others(settings: StackSettings) -> tuple[Variable, ...]:
    """vLLM gives up on its own engine after ten minutes unless it is told otherwise."""
    load_seconds = math.ceil(settings.rollout.model_load_timeout.seconds)
    return (Variable(Env(name="VLLM_ENGINE_READY_TIMEOUT_S", value=str(load_seconds)), "rollout.modelLoadTimeout"),)


def _group(plan: Plan) -> tuple[Variable, ...]:
    counts = ",".join(str(shard.last_layer - shard.first_layer + 1) for shard in plan.shards)
    layers = translated(
        "sharding.layersPerShard",
        "vLLM takes the layers of each stage; by itself it would give what does not divide to others than the plan does",
        cited(release(plan), "vllm/distributed/utils.py"),
    )
    return (Variable(Env(name="VLLM_PP_LAYER_PARTITION", value=counts), layers, "sharding.shardsCount", "model.name"), *ray_group.VARIABLES)
