"""vLLM: a pod's GPUs share each layer (tensor parallel), and a model too large for a node is a pipeline of such pods, joined by Ray
(`ray_group.py`). Envoy is the coordinator (`proxied.py`).

The weights are a Hugging Face folder: in the weight storage, or the node's copy of it. Which release runs follows from the GPU:
docs/adr/0007-vllm-by-gpu-generation.md. Flags and variables: tests/engines/vllm_flags/ has all that each release knows.

On an H200, 0.17.1 started and answered with prod's command lines in INT8, FP8 and 16 bits, with a cache of 8 and 16 bits, with
`caching.l1Cache` and without (bench/results/starts_nvidia_h200_vllm.json).

What they do on an H100 was measured with 0.20.2, without `caching.l1Cache`
(bench/results/gpu_nvidia_h100_80gb_hbm3_vllm.json): one thread of the engine plans the steps and is nearly always busy, so what spares it
work counts most: more requests a step, CUDA graphs, asynchronous scheduling. Left out:
- `VLLM_USE_V2_MODEL_RUNNER=1`, less work between two steps: 199 requests/s of 400 users instead of 150, but experimental.
- `--api-server-count`: four processes for HTTP and text change nothing, as they are not what is busy.
- Two servers on one GPU by NVIDIA's Multi-Process Service: 198 requests/s of 400 users, with the weights held twice.

Unverified for want of a GPU node: the image under another user than its own (root) with a read-only root; an 8-bit cache on a V100;
`--kv-offloading-size` in a group of pods.
"""

from __future__ import annotations

import math
from dataclasses import replace

from engines import behind_envoy
from engines.pods import environment, weights_folder, without_cuda_graphs
from engines.vllm import ray_group
from engines.vllm.told import told
from engines.workload import Endpoints, Env, Server, Workload
from planner.engine_facts import traits
from planner.engine_facts.vllm import RELEASE_ON_VOLTA
from planner.fit import stack_memory
from planner.fit.concurrency import batch_size
from planner.fit.plan import Plan
from settings import StackSettings

IMAGE = "docker.io/vllm/vllm-openai"

_BLOCK_TOKENS = 16
"""Of the cache; the default of both releases on CUDA."""


def release(plan: Plan) -> str:
    """Of vLLM."""
    return traits(plan.settings.engine, plan.gpu).release


def model_path(plan: Plan) -> str:
    return weights_folder(plan)


def arguments(settings: StackSettings, plan: Plan) -> tuple[str, ...]:
    """The whole command line after `vllm`."""
    model = settings.model
    return (
        "serve",
        model_path(plan),
        *("--served-model-name", model.name),
        *("--host", "0.0.0.0"),
        *("--port", str(behind_envoy.HTTP.number)),
        *("--tensor-parallel-size", str(plan.pod.gpus)),
        *("--pipeline-parallel-size", str(len(plan.shards))),
        *("--distributed-executor-backend", _executor(plan)),
        *_precision(settings, plan),
        *("--load-format", "safetensors"),
        *("--gpu-memory-utilization", f"{settings.shard.config.gpu_memory_fraction:g}"),
        *("--kv-cache-dtype", "fp8" if model.kv_cache.compression else "auto"),
        # The cache must hold one request of that length, or the server stops at start.
        *("--max-model-len", str(max(_BLOCK_TOKENS, plan.request_tokens))),
        *("--max-num-seqs", str(batch_size(settings))),
        *("--max-num-batched-tokens", str(max(batch_size(settings), stack_memory.batch_tokens(settings, plan.gpu, plan.shape)))),
        *(("--enforce-eager",) if without_cuda_graphs(settings) else ()),
        # A line for each health check would bury the rest.
        "--disable-uvicorn-access-log",
        *(_of_volta(plan) if release(plan) == RELEASE_ON_VOLTA else _of_others(settings, plan)),
    )


def _executor(plan: Plan) -> str:
    if len(plan.shards) > 1:
        return "ray"
    return "mp" if plan.pod.gpus > 1 else "uni"


def _precision(settings: StackSettings, plan: Plan) -> tuple[str, ...]:
    """What is not quantised is computed in 16 bits. The method is named so that another kind of checkpoint is an error at start: vLLM
    would otherwise load it as it is, which takes up to four times the memory that was planned."""
    quantization = settings.model.quantization
    precision = quantization.precision if quantization.enabled else "fp16"
    # FlashAttention's kernels for an 8-bit cache, which vLLM takes on compute capability 9, answer in bfloat16 only: with another type it
    # ends at start (seen with 0.20.2).
    hopper = (plan.gpu.compute_capability or "").startswith("9.")
    bfloat16 = settings.model.kv_cache.compression and hopper and attention_backend(settings, plan) is None
    if precision in ("fp16", "bf16"):
        return ("--dtype", "bfloat16" if bfloat16 or precision == "bf16" else "half")
    dtype = "bfloat16" if bfloat16 else "auto" if plan.gpu.bf16 else "half"
    return ("--dtype", dtype, "--quantization", quantization_method(plan))


def quantization_method(plan: Plan) -> str:
    """Of a quantised checkpoint: what llm-compressor writes, or GPTQ, which alone runs on Volta (docs/features/quantization); and FP8 as
    the models with a latent cache are published."""
    if plan.shape.kv == "mla" and plan.settings.model.quantization.precision == "fp8":
        return "fp8"
    return "gptq" if release(plan) == RELEASE_ON_VOLTA else "compressed-tensors"


def _of_volta(plan: Plan) -> tuple[str, ...]:
    """Of the older release. Chunked prefill and prefix caching share a Triton kernel that crashes on a V100 (vllm#8024, vllm#13738)."""
    return (
        *("--num-gpu-blocks-override", str(max(1, plan.memory.tokens // _BLOCK_TOKENS))),
        "--no-enable-chunked-prefill",
        "--no-enable-prefix-caching",
        # Prompts would be in the log; later releases leave them out by default.
        "--disable-log-requests",
    )


def _of_others(settings: StackSettings, plan: Plan) -> tuple[str, ...]:
    l1_cache, backend = settings.caching.l1_cache, attention_backend(settings, plan)
    return (
        *("--kv-cache-memory-bytes", str(int(plan.memory.memory.kv_gib * 2**30))),
        "--enable-chunked-prefill",
        "--enable-prefix-caching",
        *(("--attention-backend", backend) if backend else ()),
        *("--safetensors-load-strategy", "lazy" if settings.shard.config.memory_mapping else "eager"),
        *(_prompts_on_host(l1_cache.size.gib) if l1_cache.enabled else ()),
    )


def _prompts_on_host(gib: float) -> tuple[str, ...]:
    """The connector that keeps cache on the host ends the start beside vLLM's hybrid cache manager, which is on by default:
    "Connector OffloadingConnector does not support HMA" (vllm/distributed/kv_transfer/kv_connector/factory.py)."""
    return ("--kv-offloading-size", f"{gib:g}", "--kv-offloading-backend", "native", "--disable-hybrid-kv-cache-manager")


def attention_backend(settings: StackSettings, plan: Plan) -> str | None:
    """The kernels that are named because FlashAttention is not wanted; None where vLLM chooses for the GPU, the model and the cache.

    Models with one latent vector for all heads have kernels of their own, and what a model of `model.shape` needs is not known here.
    Triton's read no 8-bit cache before compute capability 8.9: docs/design/attention_backends.md.
    """
    if settings.model.attention.flash_attention or plan.shape.kv == "mla" or settings.model.shape is not None:
        return None
    return "FLASHINFER" if settings.model.kv_cache.compression else "TRITON_ATTN"


def environment_of(settings: StackSettings, plan: Plan) -> tuple[Env, ...]:
    """The variables of each pod."""
    load_seconds = math.ceil(settings.rollout.model_load_timeout.seconds)
    ours = [
        Env(name="HOME", value=behind_envoy.HOME),
        # PyTorch asks for the user's name, and this one is not in the image's /etc/passwd (vllm-project/vllm#44548).
        Env(name="USER", value="vllm"),
        Env(name="HF_HUB_OFFLINE", value="1"),
        Env(name="VLLM_NO_USAGE_STATS", value="1"),
        Env(name="VLLM_DO_NOT_TRACK", value="1"),
        # Each GPU has a process of its own.
        Env(name="OMP_NUM_THREADS", value=str(max(1, settings.shard.config.worker_threads // max(1, plan.pod.gpus)))),
    ]
    if release(plan) == RELEASE_ON_VOLTA:
        ours += [Env(name="VLLM_USE_V1", value="0"), Env(name="VLLM_ATTENTION_BACKEND", value="XFORMERS")]
    else:
        # It gives up on its own engine after ten minutes otherwise.
        ours.append(Env(name="VLLM_ENGINE_READY_TIMEOUT_S", value=str(load_seconds)))
    if len(plan.shards) > 1:
        counts = ",".join(str(shard.last_layer - shard.first_layer + 1) for shard in plan.shards)
        ours += [Env(name="VLLM_PP_LAYER_PARTITION", value=counts), *ray_group.ENVIRONMENT]
    return environment(settings, ours)


def _server(settings: StackSettings, plan: Plan, endpoints: Endpoints, *, leads: bool) -> Server:
    load_seconds = math.ceil(settings.rollout.model_load_timeout.seconds)
    command: tuple[str, ...] = ("vllm",)
    if len(plan.shards) > 1:
        command = (ray_group.leader if leads else ray_group.worker)(plan.pod.gpus, load_seconds)
    port, health_path = (behind_envoy.HTTP, behind_envoy.HEALTH_PATH) if leads else (ray_group.RAYLET, None)
    return behind_envoy.server(
        settings,
        plan,
        endpoints,
        image=f"{IMAGE}:v{release(plan)}",
        command=command,
        args=arguments(settings, plan) if leads else (),
        env=environment_of(settings, plan),
        port=port,
        health_path=health_path,
        # NCCL and the processes of a pod's GPUs meet in it.
        shared_memory="8Gi",
    )


class Vllm:
    """`vllm serve` behind Envoy."""

    name = "vllm"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`plan` must be of this engine."""
        shard = _server(settings, plan, endpoints, leads=True)
        worker = _server(settings, plan, endpoints, leads=False) if len(plan.shards) > 1 else None
        workload = behind_envoy.workload(settings, plan, endpoints, shard, worker, at_once=batch_size(settings))
        return replace(workload, told=told(workload, plan))


VLLM = Vllm()
