"""llama.cpp's server: one process a pipeline, its layers split over the GPUs of its pod. Envoy is the coordinator (`engines/envoy/`).

Nothing crosses pods but HTTP: llama.cpp's RPC back end, which speaks to whoever reaches its port, is not used.
The weights are one GGUF file, `model.gguf` in the folder that the plan names: in the weight storage, or the node's copy of it.
What the flags do on an H100 was measured (bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json): the server's one thread that chooses
tokens is busy all the time, while the GPU waits for it. So only the number of requests at once and `--cache-ram` change much. Left out:
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

from engines import ablations
from engines.envoy import pipeline_server
from engines.flags import command_line, environment, flag_effects, variable_effects
from engines.llama_cpp import without_flags
from engines.llama_cpp.command_line import flags
from engines.llama_cpp.environment import variables
from engines.metrics import table
from engines.pods import shard_effects
from engines.workload import Endpoints, Workload
from planner.fit.plan import Plan
from settings import StackSettings
from settings.flatten import leaves

IMAGE = "ghcr.io/ggml-org/llama.cpp:server-cuda-b11429"
"""Images are published once a day and not of each version (.github/workflows/docker.yml): of the release there is none known, this is the
nearest. It is built for CUDA 12.8, which still has the V100; `server-cuda13` has not."""


class LlamaCpp:
    """llama-server behind Envoy."""

    name = "llama_cpp"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`plan` must have one shard a pipeline, which the planner sees to."""
        given = leaves(settings)
        flag_list = flags(settings, plan)
        variable_list = variables(settings, flag_list, given)
        shard = pipeline_server.server(
            settings,
            plan,
            endpoints,
            image=IMAGE,
            command=("/app/llama-server",),
            args=command_line(flag_list),
            env=environment(variable_list),
            metrics=table("llama_cpp"),
        )
        effects = (
            *shard_effects(plan, "shard"),
            *flag_effects("shard", flag_list),
            *variable_effects("shard", variable_list),
            *without_flags.effects(settings, given),
        )
        at_once = plan.requests_at_once
        workload = pipeline_server.workload(settings, plan, endpoints, shard, at_once=at_once, metrics=table("llama_cpp"), effects=effects)
        return replace(workload, effects=ablations.with_measurements(self.name, workload.effects))


ENGINE = LlamaCpp()
