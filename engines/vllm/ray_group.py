"""A pipeline over several pods as one Ray cluster: the leader is its head, the others join it, and vLLM's own script waits for all.

The script is in vLLM's image: examples/online_serving/multi-node-serving.sh, as kubernetes-sigs/lws docs/examples/vllm runs it.
Whoever reaches Ray's ports runs code in the group: it has no authentication of its own, so network policies let nobody else in
(https://docs.ray.io/en/latest/ray-security/index.html).
"""

from __future__ import annotations

from collections.abc import Iterator

from engines.flags import Variable
from engines.pods import at
from engines.vllm.command_line import GPUS
from engines.workload import Env, Port, Role
from settings.account import Effect

RAYLET = Port(name="raylet", number=6380)
"""The node manager's port. It listens once its node has joined the cluster, which is when a worker is ready."""

_SCRIPT = "bash /vllm-workspace/examples/online_serving/multi-node-serving.sh"
_GCS_PORT = 6379
_OBJECT_STORE_BYTES = 2 * 2**30
"""Ray would take 30 % of the memory, and `/dev/shm` has less; vLLM passes token ids through it and no tensors."""

VARIABLES = (
    # Nothing is reported to anybody.
    Variable(Env(name="RAY_USAGE_STATS_ENABLED", value="0"), "sharding.shardsCount"),
    # Ray knows a node by its address, and vLLM looks for the same one.
    Variable(Env(name="VLLM_HOST_IP", field_path="status.podIP"), "sharding.shardsCount"),
)


def leader(gpus: int, wait_seconds: int) -> tuple[str, ...]:
    """The command that starts the head and, once the whole group is there, replaces itself by `vllm` and the container's arguments."""
    start = (
        f'{_SCRIPT} leader --ray_cluster_size="$LWS_GROUP_SIZE" --ray_port={_GCS_PORT} --ray_init_timeout={wait_seconds} '
        f"{_flags(gpus)} --include-dashboard=false"
    )
    return ("bash", "-c", f'{start} && exec vllm "$@"', "vllm")


def worker(gpus: int, wait_seconds: int) -> tuple[str, ...]:
    """The command that joins the head, tries again while it is not there yet, and ends when it is gone."""
    join = f'{_SCRIPT} worker --ray_address="$LWS_LEADER_ADDRESS" --ray_port={_GCS_PORT} --ray_init_timeout={wait_seconds}'
    return ("bash", "-c", f"{join} {_flags(gpus)}")


def effects(*roles: Role) -> Iterator[Effect]:
    """The settings that the flags of Ray and of vLLM's script answer, which stand inside of the pods' commands."""
    for role in roles:
        yield at(role, "rollout.modelLoadTimeout", "command[--ray_init_timeout]")
        yield at(role, GPUS, "command[--num-gpus]")


def _flags(gpus: int) -> str:
    """The flags of `ray start`, the same on every node."""
    return f"--num-gpus={gpus} --node-manager-port={RAYLET.number} --object-store-memory={_OBJECT_STORE_BYTES}"
