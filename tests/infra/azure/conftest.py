"""Parts that the tests of the Azure side share."""

import dataclasses

import pytest

from infra.azure.context import AzureContext
from infra.naming import Names
from planner import plan
from planner.catalogue.hardware import GpuSize
from planner.fit.plan import GpuPoolPlan
from settings import StackSettings

SUBSCRIPTION_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def context():
    return AzureContext(
        names=Names(prefix="zig-ai", stack="test", location="eastus"),
        location="eastus",
        resource_group_name="rg-zig-ai-test",
        subscription_id=SUBSCRIPTION_ID,
        tags={"project": "zig-ai-aks", "stack": "test"},
    )


@pytest.fixture
def network(recorder, context):
    from infra.azure.network import Network, NetworkArgs

    return Network(
        "network",
        NetworkArgs(
            context=context,
            address_space="10.64.0.0/16",
            nodes_cidr="10.64.0.0/22",
            private_endpoints_cidr="10.64.8.0/24",
            builders_cidr=None,
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
            "gpu_link": "pcie3",
            "vcpus": 24,
            "cpu_model": "Intel Xeon E5-2690 v4 (Broadwell)",
            "avx512": False,
            "ram_gib": 448,
            "temp_disk_gib": 2948,
            "temp_disk_kind": "scsi",
            "nvme_disk_gib": None,
            "network_mbps": None,
            "quota_family": "standardNCSv3Family",
            "aks_driver": "cuda-lts",
            "retired_on": "2025-09-30",
            "usd_per_hour": 12.24,
            "spot_usd_per_hour": 1.591,
        }
        | changes
    )


def pool_plan(**changes):
    return GpuPoolPlan(**{"size": gpu_size(), "zones": ("1", "2", "3"), "nodes": 8, "min_nodes": 4, "max_nodes": 9} | changes)


def make_plan(*pools):
    """A plan with these pools; without any, one over three zones."""
    one_gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    made = plan(StackSettings.model_validate({"shard": one_gpu}))
    return dataclasses.replace(made, gpu_pools=pools or (pool_plan(),), redis_sku="MemoryOptimized_M150")
