"""llama.cpp's server: one process a pipeline, its layers split over the GPUs of its pod. Envoy is the coordinator (`proxied.py`).

Nothing crosses pods but HTTP: llama.cpp's RPC back end, which speaks to whoever reaches its port, is not used.
The weights are one GGUF file, `model.gguf` in the folder that the plan names: in the weight storage, or the node's copy of it.
Flags: tools/server/README.md of the release that planner/engine_facts/llama_cpp.py names; tests/engines/llama_server_flags.txt has all
that the real binary knows.
What they do on an H100 was measured (bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json): the server's one thread that chooses tokens
is busy all the time, while the GPU waits for it. So of what follows only the number of requests at once and `--cache-ram` change much. Left
out:
- `--backend-sampling`, tokens chosen on the GPU: experimental, and a step of 100 requests takes 79 ms with it and 87 without; on
  servers of 13 requests each, 35 both ways.
- `--top-p 1 --min-p 0`, sampling as OpenAI's API has it by default: 47 ms instead of 58 for a step of 64 requests, but other answers.
- Several servers on one GPU: two answer 19 requests/s and eight, with NVIDIA's Multi-Process Service, 29, where one answers 12 to 14. That
  takes nodes whose device plugin shares GPUs, and weights and a cache for each server.

The image holds PTX for compute capability 7.0, 7.5, 8.0 and 9.0, and code for none of them (ggml/src/ggml-cuda/CMakeLists.txt): the
driver compiles the kernels when a pod first runs them, into CUDA_CACHE_PATH. An own image built for the GPU at hand starts sooner.

Unverified for want of a GPU node: the image under another user than its own (root) with a read-only root, and that the image's
version has the same flags as the one the tests run (five commits apart).
"""

from __future__ import annotations

from dataclasses import replace

from engines import behind_envoy
from engines.llama_cpp.told import told
from engines.pods import environment, weights_folder, without_cuda_graphs
from engines.workload import Endpoints, Env, Workload
from planner.fit.plan import Plan
from settings import StackSettings

IMAGE = "ghcr.io/ggml-org/llama.cpp:server-cuda-b11429"
"""Images are published once a day and not of each version (.github/workflows/docker.yml): of the release there is none known, this is the
nearest. It is built for CUDA 12.8, which still has the V100; `server-cuda13` has not."""

GGUF_TYPES = {"fp16": "F16", "bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
"""File types of as many bits as the planner counts: planner/catalogue/weight_bytes.py, planned."""


def model_path(plan: Plan) -> str:
    return f"{weights_folder(plan)}/{plan.weights.file}"


def arguments(settings: StackSettings, plan: Plan) -> tuple[str, ...]:
    """llama-server's whole command line."""
    config, model, batching = settings.shard.config, settings.model, settings.coordinator.config.dynamic_batching
    cache_type = "q8_0" if model.kv_cache.compression else "f16"
    return (
        *("--model", model_path(plan)),
        *("--alias", settings.model.name),
        *("--host", "0.0.0.0"),
        *("--port", str(behind_envoy.HTTP.number)),
        # The planner has counted the memory: what does not fit is an error at start and no smaller cache.
        *("--fit", "off"),
        *("--n-gpu-layers", "all"),
        *("--split-mode", "layer"),
        *("--load-mode", "mmap" if config.memory_mapping else "none"),
        *("--flash-attn", "on" if model.attention.flash_attention else "off"),
        *("--cache-type-k", cache_type),
        *("--cache-type-v", cache_type),
        # Each request has its own part of the cache, as long as the longest that is let in. In one that all share, a token without
        # room ends every request. Measured: as fast.
        *("--ctx-size", str(plan.requests_at_once * plan.request_tokens)),
        "--no-kv-unified",
        *("--parallel", str(plan.requests_at_once)),
        # What does not fit its part ends there: an answer goes on for ever where its beginning may be forgotten.
        "--no-context-shift",
        "--cont-batching" if batching.enabled else "--no-cont-batching",
        # On by default, it copies a request's cache to the host's memory when the next one comes, and all requests wait for that:
        # measured, 40% fewer are answered.
        *("--cache-ram", "0"),
        # With all layers on the GPU one is best; it is the stack's to say, and `explain` has the figures.
        *("--threads", str(config.worker_threads)),
        *("--threads-batch", str(config.worker_threads)),
        # Those that are always there; for each request beyond them the server starts another (tools/server/server-http.cpp).
        *("--threads-http", str(config.io_threads)),
        *("--prio", "0"),
        "--metrics",
        # Other requests' prompts are nobody's business.
        "--no-slots",
        "--no-ui",
        "--offline",
    )


def _environment(settings: StackSettings) -> tuple[Env, ...]:
    ours = [Env(name="HOME", value=behind_envoy.HOME)]
    if without_cuda_graphs(settings):
        # Its presence is what counts: ggml/src/ggml-cuda/common.cuh.
        ours.append(Env(name="GGML_CUDA_DISABLE_GRAPHS", value="1"))
    return environment(settings, ours)


class LlamaCpp:
    """llama-server behind Envoy."""

    name = "llama_cpp"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`plan` must have one shard a pipeline, which the planner sees to."""
        shard = behind_envoy.server(
            settings,
            plan,
            endpoints,
            image=IMAGE,
            command=("/app/llama-server",),
            args=arguments(settings, plan),
            env=_environment(settings),
        )
        workload = behind_envoy.workload(settings, plan, endpoints, shard, at_once=plan.requests_at_once)
        quantization = settings.model.quantization
        gguf_type = GGUF_TYPES[quantization.precision if quantization.enabled else "fp16"]
        return replace(workload, told=told(settings, workload.coordinator, shard, gguf_type))


LLAMA_CPP = LlamaCpp()
