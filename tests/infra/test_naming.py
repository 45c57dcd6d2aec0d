"""Names: valid by Azure's rules whatever the prefix and stack, stable, and different where two things must not meet."""

import re

import pytest

from infra import naming
from infra.naming import Names

ORDINARY = Names(prefix="zig-ai", stack="prod", location="eastus")
LONGEST = Names(prefix="a-prefix-of-twenty-a", stack="feature-with-a-very-long-branch-name-" + "x" * 60, location="southeastasia")
ODD = Names(prefix="ai", stack="Feature_1.2", location="eastus")

# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
RULES = {
    "resource_group": r"[\w().-]{0,89}[\w()-]",
    "node_resource_group": r"[\w().-]{0,79}[\w()-]",
    "cluster": r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,61}[a-zA-Z0-9]",
    "dns_prefix": r"[a-zA-Z0-9][a-zA-Z0-9-]{0,52}[a-zA-Z0-9]",
    "registry": r"[a-zA-Z0-9]{5,50}",
    "storage_account": r"[a-z0-9]{3,24}",
    "redis": r"(?!.*--)[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
}


@pytest.mark.parametrize("names", [ORDINARY, LONGEST, ODD], ids=["ordinary", "longest", "odd"])
@pytest.mark.parametrize("kind", RULES)
def test_names_obey_azure(names, kind):
    assert re.fullmatch(RULES[kind], getattr(names, kind))


def test_ordinary_names_are_readable():
    assert ORDINARY.resource_group == "rg-zig-ai-prod"
    assert ORDINARY.cluster == "aks-zig-ai-prod"
    assert ORDINARY.node_resource_group == "rg-zig-ai-prod-nodes"


@pytest.mark.parametrize("kind", ["registry", "storage_account", "redis"])
def test_world_wide_names_differ_by_prefix_stack_and_region_even_when_cut(kind):
    others = [
        Names(prefix=LONGEST.prefix, stack=LONGEST.stack + "y", location=LONGEST.location),
        Names(prefix=LONGEST.prefix, stack=LONGEST.stack, location="westeurope"),
    ]
    assert len({getattr(names, kind) for names in [LONGEST, *others]}) == 3


def test_a_suffix_replaces_the_hash():
    named = Names(prefix="zig-ai", stack="prod", location="eastus", suffix="abc123")
    assert named.registry == "crzigaiprodabc123"
    assert named.storage_account == "stzigaiprodabc123"
    assert named.redis == "amr-zig-ai-prod-abc123"
    assert named.redis_host == "amr-zig-ai-prod-abc123.eastus.redis.azure.net"
    assert named.registry_host == "crzigaiprodabc123.azurecr.io"


def test_names_never_change_between_versions():
    """A renamed registry or storage account is a new one, without what was in it."""
    assert ORDINARY.registry == "crzigaiprod355a8e"
    assert naming.role_assignment_name("sub", "zig-ai-prod", "eastus", "x", "y") == "7b71fa68-9c58-55a8-acd3-f75e9e1e2d67"
    assert naming.pool_name("gpu", {"vm_size": "Standard_NC24s_v3"}) == "gpuc939d287"


def test_fit_keeps_two_long_names_apart():
    first, second = naming.fit("a" * 90 + "1", 40), naming.fit("a" * 90 + "2", 40)
    assert first != second and len(first) <= 40 and len(second) <= 40
    assert naming.fit("short", 40) == "short"


def test_region_is_written_as_azure_does_in_host_names():
    assert naming.redis_host("cache", "East US") == "cache.eastus.redis.azure.net"


def test_pool_name_follows_what_is_fixed_and_nothing_else():
    small = {"vm_size": "A", "kubelet_config": {"cpu_manager_policy": "static"}}
    assert naming.pool_name("gpu", small) == naming.pool_name("gpu", dict(reversed(small.items())))
    assert naming.pool_name("gpu", small) != naming.pool_name("gpu", small | {"vm_size": "B"})
    assert naming.pool_name("gpu", small) != naming.pool_name("gpu", small | {"kubelet_config": {"cpu_manager_policy": "none"}})
    assert re.fullmatch(r"[a-z][a-z0-9]{0,11}", naming.pool_name("gpu12", small))


@pytest.mark.parametrize("base", ["", "1gpu", "GPU", "gpu-1", "toolong"])
def test_pool_base_name_that_cannot_work(base):
    with pytest.raises(ValueError, match="must be 1-5"):
        naming.pool_name(base, {})


def test_own_tags_win():
    assert naming.tags(project="p", stack="s", extra={"stack": "mine", "team": "ai"}) == {
        "project": "p",
        "stack": "mine",
        "managed-by": "pulumi",
        "team": "ai",
    }
