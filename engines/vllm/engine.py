"""vLLM: a pod's GPUs share each layer (tensor parallel), and a model too large for a node is a pipeline of such pods, joined by Ray
(`ray_group.py`). Envoy is the coordinator (`engines/envoy/`).

The weights are a Hugging Face folder: in the weight storage, or the node's copy of it. Which release runs follows from the GPU:
docs/adr/0007-vllm-by-gpu-generation.md.

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

from engines import ablations
from engines.envoy import pipeline_server
from engines.flags import command_line, environment, flag_effects, variable_effects
from engines.metrics import table
from engines.pods import shard_effects
from engines.vllm import ray_group, without_flags
from engines.vllm.command_line import flags, release
from engines.vllm.environment import variables
from engines.vllm.images import IMAGES
from engines.workload import Endpoints, Role, Server, Workload
from planner.engine_facts.vllm import RELEASE_ON_VOLTA
from planner.fit.concurrency import batch_size
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect
from settings.flatten import leaves


def _server(settings: StackSettings, plan: Plan, endpoints: Endpoints, *, leads: bool) -> Server:
    load_seconds = math.ceil(settings.rollout.model_load_timeout.seconds)
    command: tuple[str, ...] = ("vllm",)
    if len(plan.shards) > 1:
        command = (ray_group.leader if leads else ray_group.worker)(plan.pod.gpus, load_seconds)
    port, health_path = (pipeline_server.HTTP, pipeline_server.HEALTH_PATH) if leads else (ray_group.RAYLET, None)
    return pipeline_server.server(
        settings,
        plan,
        endpoints,
        image=IMAGES[release(plan)].reference,
        command=command,
        args=command_line(flags(settings, plan)) if leads else (),
        env=environment(variables(settings, plan)),
        port=port,
        health_path=health_path,
        # NCCL and the processes of a pod's GPUs meet in it.
        shared_memory="8Gi",
        metrics=table(f"vllm-{release(plan)}"),
    )


def _effects(settings: StackSettings, plan: Plan, *roles: Role) -> tuple[Effect, ...]:
    return (
        *shard_effects(plan, *roles),
        *flag_effects("shard", flags(settings, plan)),
        *(effect for role in roles for effect in variable_effects(role, variables(settings, plan))),
        *(ray_group.effects(*roles) if len(roles) > 1 else ()),
        *without_flags.effects(settings, plan, leaves(settings)),
    )


class Vllm:
    """`vllm serve` behind Envoy."""

    name = "vllm"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`plan` must be of this engine."""
        grouped = len(plan.shards) > 1
        shard = _server(settings, plan, endpoints, leads=True)
        worker = _server(settings, plan, endpoints, leads=False) if grouped else None
        effects = _effects(settings, plan, *(("shard", "worker") if grouped else ("shard",)))
        metrics = table(f"vllm-{release(plan)}")
        at_once = batch_size(settings)
        workload = pipeline_server.workload(settings, plan, endpoints, shard, worker, at_once=at_once, metrics=metrics, effects=effects)
        if release(plan) == RELEASE_ON_VOLTA:
            # The older release was not measured.
            return workload
        return replace(workload, effects=ablations.with_measurements(self.name, workload.effects, release(plan)))


ENGINE = Vllm()
