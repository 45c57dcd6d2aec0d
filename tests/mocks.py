"""Pulumi mocks as a data table: what the cloud would compute, by type token; everything registered is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"

# Outputs that the cloud computes beyond the inputs; a callable receives the resource's inputs.
COMPUTED: dict[str, dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]] = {
    "azure-native:containerservice:ManagedCluster": {
        "nodeResourceGroup": "nodes",
        # A list of ids going in, a map by id coming out.
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {}},
    },
    "azure-native:managedidentity:UserAssignedIdentity": lambda inputs: {"name": inputs["resourceName"]},
    "azure-native:redisenterprise:RedisEnterprise": {"hostName": "redis.example"},
    "azure-native:containerregistry:Registry": {"loginServer": "registry.example"},
}
# Answers of functions; a callable receives the arguments.
CALLS: dict[str, dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]] = {
    "azure-native:managedidentity:getUserAssignedIdentity": lambda asked: {
        "clientId": f"client of {asked['resourceName']}",
        "principalId": f"principal of {asked['resourceName']}",
    },
    "azure-native:network:getPublicIPAddress": {"ipAddress": "203.0.113.7"},
    "azure-native:containerservice:getManagedCluster": {"oidcIssuerProfile": {"enabled": True, "issuerURL": "https://oidc.example/"}},
    "azure-native:authorization:getClientConfig": {
        "subscriptionId": SUBSCRIPTION.rsplit("/", 1)[1],
        "tenantId": "44444444-4444-4444-4444-444444444444",
        "objectId": "55555555-5555-5555-5555-555555555555",
        "clientId": "66666666-6666-6666-6666-666666666666",
    },
    "azure-native:containerservice:listManagedClusterUserCredentials": {"kubeconfigs": [{"name": "clusterUser", "value": "e30K"}]},
}


@dataclass
class Registered:
    """One resource as the program registered it; `inputs` has camelCase keys."""

    type: str
    name: str
    inputs: dict[str, Any]
    provider: str | None


@dataclass
class Options:
    """The options of one registration, as they reach the engine. Resources are named by their logical names."""

    parent: str | None
    depends_on: set[str]
    """Explicit dependencies and those that follow from inputs."""
    protect: bool
    ignore_changes: list[str]
    replace_on_changes: list[str]
    delete_before_replace: bool | None
    """None leaves it to the provider."""
    retain_on_delete: bool
    aliases: list[str]
    """Former URNs, types or names."""


def _parent(urn: str) -> str | None:
    """The component's name; None for the stack, whose name is that of whichever test ran first in this process."""
    *_, kind, name = f"::{urn}".split("::")
    return None if not urn or kind == "pulumi:pulumi:Stack" else name


class RecordingMonitor(MockMonitor):
    """Also keeps the options, which mocks are not given."""

    def RegisterResource(self, request):
        assert isinstance(self.mocks, Recorder)
        self.mocks.options[(request.type, request.name)] = Options(
            parent=_parent(request.parent),
            depends_on={urn.rsplit("::", 1)[1] for urn in request.dependencies},
            protect=request.protect,
            ignore_changes=list(request.ignoreChanges),
            replace_on_changes=list(request.replaceOnChanges),
            delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
            retain_on_delete=request.retainOnDelete,
            aliases=[alias.urn or alias.spec.type or alias.spec.name for alias in request.aliases],
        )
        return super().RegisterResource(request)


@dataclass
class Recorder(pulumi.runtime.Mocks):
    resources: list[Registered] = field(default_factory=list)
    options: dict[tuple[str, str], Options] = field(default_factory=dict)
    """The options of the registered resources, by type and logical name."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.resources.append(Registered(args.typ, args.name, args.inputs, args.provider))
        name = args.inputs.get("metadata", {}).get("name") or args.name
        computed = COMPUTED.get(args.typ, {})
        if callable(computed):
            computed = computed(args.inputs)
        return f"{SUBSCRIPTION}/mock/{name}", {"name": args.name, **args.inputs, **computed}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        answer = CALLS[args.token]
        return answer if isinstance(answer, dict) else answer(args.args), []

    def one(self, type_: str, name: str | None = None) -> Registered:
        """The only resource of this type (and logical name)."""
        found = [r for r in self.resources if r.type == type_ and name in (None, r.name)]
        assert len(found) == 1, f"{len(found)} resources {type_} {name or ''}: {[r.name for r in found]}"
        return found[0]

    def all(self, type_: str) -> list[Registered]:
        return [r for r in self.resources if r.type == type_]

    def options_of(self, type_: str, name: str | None = None) -> Options:
        """The options of the only resource of this type (and logical name)."""
        return self.options[(type_, self.one(type_, name).name)]


def recording(stack: str = "test") -> Recorder:
    """A mock engine that records what the program registers from now on."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="zig-ai-aks", stack=stack, preview=False, monitor=RecordingMonitor(recorder))
    return recorder


def run(program: Callable[[], Any]) -> Any:
    """Run a program under the mocks to its end; what its result resolves to, Outputs included."""
    seen: list[Any] = []

    @pulumi.runtime.test
    def awaited() -> pulumi.Output[Any]:
        return pulumi.Output.from_input(program()).apply(seen.append)

    awaited()
    return seen[0]
