"""Parts that the tests of the Azure side share."""

import pytest

from infra.azure.site import Site
from infra.naming import Names
from planner.plan import GpuPoolPlan, GpuSize, Plan, ShardPodPlan

SUBSCRIPTION_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def site():
    return Site(
        names=Names(prefix="zig-ai", stack="test", location="eastus"),
        location="eastus",
        resource_group_name="rg-zig-ai-test",
        subscription_id=SUBSCRIPTION_ID,
        tags={"project": "zig-ai-aks", "stack": "test"},
    )


@pytest.fixture
def network(recorder, site):
    from infra.azure.network import Network, NetworkArgs

    return Network(
        "network",
        NetworkArgs(
            site=site,
            address_space="10.64.0.0/16",
            nodes_cidr="10.64.0.0/22",
            private_endpoints_cidr="10.64.8.0/24",
            zones=("1", "2", "3"),
        ),
    )


def gpu_size(**changes):
    return GpuSize(
        **{
            "name": "Standard_NC24s_v3",
            "gpu": "V100",
            "gpus": 4,
            "gpu_memory_gb": 16,
            "vcpus": 24,
            "ram_gib": 448,
            "temp_disk_gib": 2948,
            "quota_family": "standardNCSv3Family",
            "retired_on": "2025-09-30",
            "usd_per_hour": 12.24,
        }
        | changes
    )


def make_plan():
    return Plan(
        shards=(),
        pipelines=1,
        pod=ShardPodPlan(gpus=1, requests={}, limits={}, huge_pages_mib=0, node_selector={}),
        gpu_pool=GpuPoolPlan(size=gpu_size(), nodes=8, min_nodes=4, max_nodes=9),
        redis_sku="MemoryOptimized_M150",
        findings=(),
    )
