"""What the agents on every GPU node request: the planner subtracts it, and the DaemonSets are rendered with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AgentRequests:
    """What one pod of a DaemonSet requests."""

    cpu_millicores: int
    memory_mib: int

    @property
    def as_kubernetes(self) -> dict[str, str]:
        """The requests as Kubernetes quantities."""
        return {"cpu": f"{self.cpu_millicores}m", "memory": f"{self.memory_mib}Mi"}


DEVICE_PLUGIN = AgentRequests(cpu_millicores=10, memory_mib=64)
NODE_TUNING = AgentRequests(cpu_millicores=10, memory_mib=32)
GPU_METRICS = AgentRequests(cpu_millicores=100, memory_mib=128)
WEIGHTS_COPY = AgentRequests(cpu_millicores=50, memory_mib=256)

AKS_AGENTS = AgentRequests(cpu_millicores=500, memory_mib=1024)
"""An allowance, not a published figure: AKS's own agents (network, disks, files, secrets, node manager) change with its releases and
their requests are documented nowhere; a Cilium agent's 100 Mi is in Azure/AKS issue 5244 (2025-09-02)."""


def requests(*, monitoring: bool, weights_copy: bool) -> AgentRequests:
    """Returns what all agents of one GPU node request together."""
    agents = [DEVICE_PLUGIN, NODE_TUNING, AKS_AGENTS, *([GPU_METRICS] if monitoring else []), *([WEIGHTS_COPY] if weights_copy else [])]
    return AgentRequests(cpu_millicores=sum(agent.cpu_millicores for agent in agents), memory_mib=sum(agent.memory_mib for agent in agents))
