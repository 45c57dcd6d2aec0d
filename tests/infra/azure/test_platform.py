"""All of Azure together, for whole stacks: what is there, valid by the SDK, tagged, named, protected, and what is handed on."""

import dataclasses
import datetime
import functools
import re

import pulumi
import pytest

from infra.azure import platform
from infra.azure.platform import AzurePlatform
from settings import StackSettings
from settings.operations import Monitoring
from settings.platform import Azure, Budget, Cluster, GpuPool
from tests.infra.azure import sdk
from tests.infra.azure.conftest import make_plan, pool_plan
from tests.infra.registered import registered
from tests.mocks import Recorder, RecordingMonitor, run

POOL = "azure-native:containerservice:AgentPool"
GRANT = "azure-native:authorization:RoleAssignment"
ADMINS = "77777777-7777-7777-7777-777777777777"
EVERYTHING = StackSettings(
    azure=Azure(protect=True, tags={"team": "ai"}),
    cluster=Cluster(private=True, tier="Premium", admin_group_object_ids=(ADMINS,)),
    gpu_pool=GpuPool(spot=True, mig="MIG1g", sysctls={"net.core.somaxconn": 16384}),
    monitoring=Monitoring(managed_prometheus=True),
    budget=Budget(monthly_usd=5000.0, alert_emails=("ops@contoso.com",)),
)
LITTLE = StackSettings(
    cluster=Cluster(zones=(), control_plane_logs=False, authorized_ip_ranges=("20.30.0.0/24",)), gpu_pool=GpuPool(zones=())
)
ZONAL = [pool_plan(zones=(zone,), nodes=nodes) for zone, nodes in (("1", 4), ("2", 2), ("3", 2))]
STACKS = {"everything": (EVERYTHING, make_plan(*ZONAL)), "little": (LITTLE, make_plan(pool_plan(zones=())))}


@dataclasses.dataclass(frozen=True)
class Deployed:
    azure: AzurePlatform
    recorder: Recorder
    client_ids: list[str]

    @property
    def resources(self):
        return [r for r in self.recorder.resources if r.type.startswith("azure-native:")]


@functools.cache
def deployed(which: str) -> Deployed:
    """A whole stack under the mocks, once for all tests that only look at it."""
    recorder, found = Recorder(), []
    pulumi.runtime.set_mocks(recorder, project="zig-ai-aks", stack="test", preview=False, monitor=RecordingMonitor(recorder))

    def program():
        settings, plan = STACKS[which]
        azure = platform.deploy(settings, plan, "test", today=datetime.date(2026, 11, 24))
        found.append(azure)
        return [azure.for_kubernetes.coordinator_client_id, azure.for_kubernetes.shard_client_id]

    return Deployed(client_ids=run(program), azure=found[0], recorder=recorder)


@pytest.fixture
def everything():
    return deployed("everything")


@pytest.fixture
def little():
    return deployed("little")


@pytest.fixture(params=["everything", "little"])
def stack(request):
    return deployed(request.param)


# Values that Azure documents and the SDK's enum lacks, with their source.
BEYOND_THE_SDK = {
    # https://learn.microsoft.com/azure/azure-monitor/containers/kubernetes-monitoring-enable (ARM template)
    "dataFlows[0].streams[0]: 'Microsoft-PrometheusMetrics'",
}


def test_every_value_of_an_enum_is_one(stack):
    wrong = [f"{r.name}: {text}" for r in stack.resources for text in sdk.wrong_values(r.type, r.inputs)]
    assert [text for text in wrong if not any(known in text for known in BEYOND_THE_SDK)] == []


def test_the_enum_check_can_fail():
    """It walks nested arguments, lists and maps; a check that saw nothing would pass for ever."""
    pool = {"osDiskType": "Ephemral", "gpuProfile": {"driver": "Instal"}}
    assert len(sdk.wrong_values("azure-native:containerservice:AgentPool", pool)) == 2
    cluster = {"agentPoolProfiles": [{"name": "x", "mode": "Sys"}], "networkProfile": {"networkPolicy": "celium"}}
    assert len(sdk.wrong_values("azure-native:containerservice:ManagedCluster", cluster)) == 2
    budget = {"notifications": {"a": {"operator": "Above", "thresholdType": "Actual"}}}
    assert len(sdk.wrong_values("azure-native:consumption:Budget", budget)) == 1


def test_everything_taggable_is_tagged(stack):
    taggable = [r for r in stack.resources if sdk.takes_tags(r.type)]
    assert len(taggable) > 10
    for resource in taggable:
        assert resource.inputs.get("tags", {}).items() >= {"project": "zig-ai-aks", "stack": "test"}.items(), resource.name


def test_own_tags_reach_everything(everything):
    assert {r.inputs["tags"]["team"] for r in everything.resources if "tags" in r.inputs} == {"ai"}


def test_every_resource_is_named_and_none_twice(stack):
    """A name left out is made up by the provider and another one when the stack is made again."""
    for resource in stack.resources:
        own = {"resourceGroupName", "accessPolicyName"} if not resource.type.endswith("ResourceGroup") else set()
        names = [key for key in resource.inputs if key.lower().endswith("name") and key not in own]
        assert names, f"{resource.type} {resource.name} has no name"
    assert len({(r.type, r.name) for r in stack.recorder.resources}) == len(stack.recorder.resources)


def test_every_resource_belongs_to_a_component(stack):
    roots = {name for (type_, name), options in stack.recorder.options.items() if not options.parent and type_.startswith("azure-native:")}
    assert roots <= {"resource-group", "budget", "cluster-admin-deployer", "kubelet-identity"}


def test_state_is_protected_on_request(everything):
    """And nothing else: the engine refuses to replace a protected pool or grant, and children inherit protection."""
    protected = {name for (_, name), options in everything.recorder.options.items() if options.protect}
    assert protected == {"resource-group", "cluster", "weights", "weights-container", "redis", "redis-database"}


def test_nothing_is_protected_unasked(little):
    assert not [name for (_, name), options in little.recorder.options.items() if options.protect]


def test_only_gpu_pools_overrule_how_they_are_replaced(everything):
    overruling = {name for (_, name), options in everything.recorder.options.items() if options.delete_before_replace is not None}
    assert overruling == {"gpu-pool", "gpu-pool-z2", "gpu-pool-z3"}


def test_what_is_handed_on(everything):
    azure = everything.azure
    assert azure.resource_group == "rg-zig-ai-test"
    assert re.fullmatch(r"crzigaitest[0-9a-f]{6}\.azurecr\.io", azure.registry)
    assert re.fullmatch(r"amr-zig-ai-test-[0-9a-f]{6}\.eastus\.redis\.azure\.net", azure.redis_host)
    inputs = azure.for_kubernetes
    assert (inputs.weights_container, inputs.weights_resource_group) == ("weights", "rg-zig-ai-test")
    assert inputs.weights_account == everything.recorder.one("azure-native:storage:StorageAccount").inputs["accountName"]
    assert everything.client_ids == ["client of id-zig-ai-coordinator-zig-ai-test", "client of id-zig-ai-shard-zig-ai-test"]


def test_no_redis_without_the_third_cache_level(recorder):
    found = []

    def program():
        found.append(platform.deploy(LITTLE, dataclasses.replace(make_plan(), redis_sku=None), "test"))
        return found[0].cluster_name

    run(program)
    assert found[0].redis_host is None
    assert not recorder.all("azure-native:redisenterprise:RedisEnterprise")


def test_only_what_is_asked_for(little, everything):
    optional = {
        "azure-native:monitor:AzureMonitorWorkspace",
        "azure-native:consumption:Budget",
        "azure-native:monitor:DiagnosticSetting",
    }
    assert not optional & {r.type for r in little.resources}
    assert optional <= {r.type for r in everything.resources}


def test_whoever_deploys_can_use_the_cluster(little):
    """With local accounts off and no group, the first Kubernetes call of the very deployment that made the cluster was Forbidden."""
    grant = little.recorder.one(GRANT, "cluster-admin-deployer").inputs
    assert grant["roleDefinitionId"].endswith("b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b")
    assert grant["principalId"] == "55555555-5555-5555-5555-555555555555"
    assert "cluster-admin-deployer" in little.recorder.options_of("azure-native:containerservice:ManagedCluster").depends_on
    assert little.recorder.one(GRANT, "weights-upload-deployer").inputs["principalId"] == grant["principalId"]


def test_with_groups_the_deployer_gets_nothing(everything):
    grants = {r.name for r in everything.recorder.all(GRANT)}
    assert grants == {"cluster-subnet", "cluster-kubelet", "registry-kubelet-pull", "weights-read", f"weights-upload-{ADMINS}"}
    cluster = everything.recorder.one("azure-native:containerservice:ManagedCluster").inputs
    assert cluster["aadProfile"]["adminGroupObjectIDs"] == [ADMINS]


def test_nodes_may_pull_images_before_there_are_nodes(everything):
    assert "registry-kubelet-pull" in everything.recorder.options_of("azure-native:containerservice:ManagedCluster").depends_on
    grant = everything.recorder.one(GRANT, "registry-kubelet-pull").inputs
    assert grant["principalId"] == "principal of id-kubelet-zig-ai-test"


def test_weights_are_uploaded_from_where_the_api_server_is_reached(everything, little):
    access = [s.recorder.one("azure-native:storage:StorageAccount").inputs["publicNetworkAccess"] for s in (everything, little)]
    assert access == ["Disabled", "Enabled"]


def test_gpu_pools_belong_to_the_cluster(everything):
    for pool in everything.recorder.all(POOL):
        options = everything.recorder.options_of(POOL, pool.name)
        assert options.parent == "cluster"
        assert {"cluster", "network-nodes"} <= options.depends_on


def test_pools_change_one_after_the_other(everything):
    """Two at once may be answered 409 OperationNotAllowed, which azure-native does not try again."""
    before = [everything.recorder.options_of(POOL, name).depends_on for name in ("gpu-pool", "gpu-pool-z2", "gpu-pool-z3")]
    assert [{one for one in found if one.startswith("gpu-pool")} for found in before] == [set(), {"gpu-pool"}, {"gpu-pool-z2"}]


def test_each_planned_pool_is_one_pool(everything):
    pools = sorted((pool.inputs for pool in everything.recorder.all(POOL)), key=lambda inputs: inputs["availabilityZones"])
    assert [(pool["availabilityZones"], pool["count"]) for pool in pools] == [(["1"], 4), (["2"], 2), (["3"], 2)]
    assert len(everything.azure.for_kubernetes.gpu_nodes) == 3


def test_pool_names_fit_and_differ(everything):
    """The same node configuration in two zones: only the zone keeps the names apart."""
    names = {pool.inputs["availabilityZones"][0]: pool.inputs["agentPoolName"] for pool in everything.recorder.all(POOL)}
    for name, base in zip((names["1"], names["2"], names["3"]), ("gpu", "gpuz2", "gpuz3"), strict=True):
        assert re.fullmatch(base + "[0-9a-f]{7,8}", name) and len(name) <= 12


def test_a_pipeline_more_does_not_replace_the_pool_of_the_others(recorder, everything):
    run(lambda: platform.deploy(EVERYTHING, make_plan(ZONAL[0]), "test").cluster_name)
    alone, first = recorder.one(POOL), everything.recorder.one(POOL, "gpu-pool")
    assert (alone.name, alone.inputs["agentPoolName"]) == (first.name, first.inputs["agentPoolName"])


@pytest.mark.parametrize(("stack", "encrypted"), [("private, administrators", True), ("prod", None)])
def test_the_nodes_of_all_pools_are_encrypted_at_host_or_none_is(stack, encrypted):
    """Prompts are in the coordinators' logs on the system pool, and weights on the GPU nodes."""
    there = [one for one in registered(stack) if one.type.startswith("azure-native:containerservice:")]
    pools = [one.inputs for one in there if one.kind == "AgentPool"]
    pools += [pool for one in there if one.kind == "ManagedCluster" for pool in one.inputs["agentPoolProfiles"]]
    assert len(pools) > 1 and {pool.get("enableEncryptionAtHost") for pool in pools} == {encrypted}
