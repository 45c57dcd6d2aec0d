"""The servers of pipelines behind Envoy (`coordinator.py`): what engines that have no coordinator of their own give alike.

Such a server speaks HTTP, reports on the same port whether its model is loaded and how much it does, and reads the weights where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from engines.envoy import coordinator
from engines.flags import of_stack
from engines.images import image_reference
from engines.metrics import Metric
from engines.pods import DATA_DIR, at, shard_fields, weights_folder
from engines.workload import Endpoints, Env, Port, Probe, Role, Server, Workload
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect, Place
from settings.flatten import leaves

HTTP = Port(name="http", number=8080)
HEALTH_PATH = "/health"
"""Answers 503 while the model is loading."""
_PROGRESS = Path(__file__).with_name("progress.sh").read_text()
"""Needs a shell and curl, which both engines' images have: .devops/cuda.Dockerfile of llama.cpp, docker/Dockerfile of vLLM."""
_SILENT_SECONDS = 60
"""How long one token may take of a server that has generated none for a minute. A prompt of a whole context is read in less."""
HOME = "/tmp"
"""The root is read-only, and what an engine compiles is kept below HOME."""
_USER = 10001
"""Any user that is not root: nothing in the images belongs to a user of its own."""


def server(
    settings: StackSettings,
    plan: Plan,
    endpoints: Endpoints,
    *,
    image: str,
    command: tuple[str, ...],
    args: tuple[str, ...],
    env: tuple[Env, ...],
    port: Port = HTTP,
    health_path: str | None = HEALTH_PATH,
    shared_memory: str | None = None,
    metrics: Mapping[str, Metric],
) -> Server:
    """Renders a pipeline's server. `image` is the engine's own, for stacks that name none. `metrics` is the server's table."""
    fields = shard_fields(settings, plan, port.name, health_path)
    if health_path and not settings.images.shard:
        fields["liveness"] = _liveness(port, metrics)
    return Server(
        image=image_reference(settings.images.shard or image, endpoints.registry),
        command=command,
        args=args,
        env=env,
        config_files=(),
        ports=(port,),
        metrics_port=HTTP.name,
        run_as_user=_USER,
        # A worker too: a group ends as a whole, and its leader answers nothing without it.
        pre_stop_seconds=coordinator.serving_on_seconds(settings),
        shared_memory=shared_memory,
        **fields,
        **_weights(plan),
    )


def progress(metrics: Mapping[str, Metric]) -> str:
    """Returns the script that tells whether a server with these metrics makes tokens."""
    # llama-server counts an answer's tokens when it ends, and its steps as it makes them.
    moving = ("steps",) if "steps" in metrics else ("prompt_tokens", "answer_tokens")
    return _PROGRESS.replace("@COUNTERS@", "|".join(metrics[key].name for key in moving))


def _liveness(port: Port, metrics: Mapping[str, Metric]) -> Probe:
    """Restarts a server that makes no tokens, after four minutes or so: its health check is answered while its GPU hangs."""
    command = ("sh", "-c", progress(metrics), "progress", f"http://127.0.0.1:{port.number}", str(_SILENT_SECONDS))
    return Probe(port=port.name, command=command, period_seconds=60, timeout_seconds=_SILENT_SECONDS + 15)


def _effects(role: Role) -> Iterator[Effect]:
    yield at(role, "rollout.terminationGrace", "lifecycle.preStop.sleep.seconds")
    if role == "shard":
        yield Effect(
            key="images.shard",
            place=Place(kind=role, path="livenessProbe.httpGet"),
            because="an image of the stack's own may have no shell and no curl, which the check for new tokens needs: a server whose GPU "
            "hangs is not restarted while it answers its health check",
            source="engines/envoy/progress.sh",
        )


def _weights(plan: Plan) -> dict[str, str]:
    """Mounts the node's copy of the model's folder, or the storage where nodes keep none."""
    return {"node_weights_dir": weights_folder(plan)} if plan.weights.on_node else {"weights_dir": DATA_DIR}


def workload(
    settings: StackSettings,
    plan: Plan,
    endpoints: Endpoints,
    shard: Server,
    worker: Server | None = None,
    *,
    at_once: int,
    metrics: Mapping[str, Metric],
    effects: Iterable[Effect],
) -> Workload:
    """Puts Envoy before the pipelines' servers.

    `worker` is given where a pipeline is several pods, which then choose among themselves on which ports they talk. `at_once` is how many
    requests a pipeline runs, `metrics` the table of its servers. `effects` are those of its servers, to which the coordinator's are added.
    """
    upstream = coordinator.Upstream(port=HTTP.number, health_path=HEALTH_PATH, at_once=at_once, waiting=plan.waiting_requests)
    envoy, envoy_effects = coordinator.coordinator(settings, endpoints, upstream)
    roles: tuple[Role, ...] = ("shard", "worker") if worker else ("shard",)
    own_effects = (effect for role in roles for effect in _effects(role))
    return Workload(
        coordinator=envoy,
        shard=shard,
        worker=worker,
        serving_ports=(coordinator.serving_port(settings),),
        leaders_port=HTTP,
        shards_talk=worker is not None,
        shards_choose_ports=worker is not None,
        inference_path=coordinator.INFERENCE_PATH,
        load_query=coordinator.LOAD_QUERY,
        latency=coordinator.LATENCY,
        requests=coordinator.REQUESTS,
        shards_measure=False,
        signals=coordinator.signals(metrics, settings.targets.latency.seconds),
        effects=of_stack((*envoy_effects, *own_effects, *effects), leaves(settings)),
    )
