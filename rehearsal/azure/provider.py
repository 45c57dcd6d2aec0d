"""The azure-native provider's side of Pulumi's protocol, for a cloud that is a file.

The engine starts one for each operation, so nothing is kept in memory. Calls and fields:
pulumi/pulumi proto/pulumi/provider.proto.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.azure import computed, effects, invokes, schema, subscription
from rehearsal.azure.diff import changes
from rehearsal.azure.faults import Faults
from rehearsal.azure.pools import InProgress, begin, end, put_pools
from rehearsal.azure.protocol import UNKNOWN, from_struct, has_unknown, to_struct
from rehearsal.azure.refresh import refreshed
from rehearsal.azure.resources import FIXED_ID_PARTS, RESOURCE_TYPES, ResourceType, resource_id
from rehearsal.azure.rules import Refused, Request, check_delete, check_write
from rehearsal.azure.state import Cloud, StateFile
from rehearsal.azure.validate import failures
from rehearsal.cluster import control_plane
from rehearsal.layout import Layout


class AlreadyExists(Exception):
    """The resource exists already, which the real provider checks before it creates (words: pulumi/pulumi-azure-native issue 1123)."""


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns exceptions into errors of the engine: a refusal becomes a plain message, and any other exception a traceback in the log."""

    @functools.wraps(method)
    def wrapped(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except (Refused, InProgress, AlreadyExists, control_plane.ControlPlaneError, schema.UnknownType) as error:
            self.note_refusal(getattr(request, "urn", "") or getattr(request, "tok", ""), error)
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as error:
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            context.abort(grpc.StatusCode.INTERNAL, f"the stand-in for Azure failed: {type(error).__name__}: {error}")

    return wrapped


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Checks, creates, reads, updates and deletes resources of one rehearsed subscription."""

    def __init__(self, layout: Layout, subscription_name: str = "default") -> None:
        self.layout = layout
        self.subscription = subscription.load(subscription_name)
        self.state = StateFile(layout.azure)
        self.faults = Faults(self.state)
        self.config: dict[str, str] = {}

    # the provider itself

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=schema.sdk_version())

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        self.config = {key.rsplit(":", 1)[-1]: value for key, value in request.variables.items()}
        # Secrets arrive bare and the engine marks them again in the outputs: what a file holds is no secret.
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True, acceptResources=False, acceptOutputs=False)

    # resources

    @_answers
    def Check(self, request: Any, context: Any) -> Any:
        kind, shape = self._kind(request.urn)
        inputs, old = from_struct(request.news), from_struct(request.olds)
        self._name(kind, shape, inputs, old, request)
        if "location" in shape["properties"] and "location" not in inputs:
            location = self._location(inputs)
            if location:
                inputs["location"] = location
        faults = failures(inputs, shape, closed=kind.closed)
        for failure in faults:
            self.note_refusal(request.urn, Refused("InvalidRequest", f"{failure.path}: {failure.reason}"))
        return provider_pb2.CheckResponse(
            inputs=to_struct(inputs),
            failures=[provider_pb2.CheckFailure(property=failure.path, reason=failure.reason) for failure in faults],
        )

    @_answers
    def Diff(self, request: Any, context: Any) -> Any:
        kind, _ = self._kind(request.urn)
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        ignored = set(request.ignoreChanges)
        changed = [change for change in changes(kind, old, new) if change.path not in ignored]
        replaces = [change.path for change in changed if change.replaces]
        types = provider_pb2.PropertyDiff
        detailed = {
            change.path: types(kind=getattr(types, change.kind + ("_REPLACE" if change.replaces else "")), inputDiff=True)
            for change in changed
        }
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=replaces,
            diffs=sorted({change.path.split(".")[0].split("[")[0] for change in changed}),
            detailedDiff=detailed,
            hasDetailedDiff=True,
            # The real provider asks for it unless it made the name up itself: Azure cannot hold two things with one name.
            deleteBeforeReplace=bool(replaces) and not _random_name(new.get(kind.name)),
        )

    @_answers
    def Create(self, request: Any, context: Any) -> Any:
        kind, shape = self._kind(request.urn)
        inputs = from_struct(request.properties)
        if request.preview or has_unknown(inputs):
            return provider_pb2.CreateResponse(properties=to_struct(_previewed(inputs, shape["outputs"])))
        identifier = resource_id(kind, inputs, self.subscription.subscription_id)
        note = self.faults.before(kind.short)
        with self.state.change() as cloud:
            if cloud.get(identifier) is not None:
                raise AlreadyExists(f"cannot create already existing resource '{identifier}'")
            record = self._write(cloud, kind, shape, identifier, inputs)
        if note:
            print(f"{kind.short}: {note}", flush=True)
        try:
            self._applied(kind, record)
        except control_plane.ControlPlaneError:
            with self.state.change() as cloud:
                cloud.remove(identifier)
            raise
        self.faults.after(kind.short)
        return provider_pb2.CreateResponse(id=identifier, properties=to_struct(record["outputs"]))

    @_answers
    def Update(self, request: Any, context: Any) -> Any:
        kind, shape = self._kind(request.urn)
        inputs = from_struct(request.news)
        if request.preview or has_unknown(inputs):
            old = from_struct(request.olds)
            # Of what Azure adds, the real provider keeps these two (provider/pkg/provider/provider.go, Update).
            kept = {key: old[key] for key in ("name", "location") if key in old and key not in inputs}
            return provider_pb2.UpdateResponse(properties=to_struct({**_previewed(inputs, shape["outputs"]), **kept}))
        self.faults.before(kind.short)
        with self.state.change() as cloud:
            if cloud.get(request.id) is None:
                raise Refused(
                    "ResourceNotFound",
                    f"The Resource '{request.id}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
                )
            record = self._write(cloud, kind, shape, request.id, inputs)
        self._applied(kind, record)
        return provider_pb2.UpdateResponse(properties=to_struct(record["outputs"]))

    @_answers
    def Read(self, request: Any, context: Any) -> Any:
        cloud = self.state.read()
        record = cloud.get(request.id)
        if record is None:
            return provider_pb2.ReadResponse()
        outputs, inputs = computed.current(record, cloud), from_struct(request.inputs)
        if inputs:
            _, shape = self._kind(request.urn)
            inputs = refreshed(inputs, from_struct(request.properties), outputs, shape)
        else:
            inputs = record["inputs"]  # an import, for which there is nothing to compare with
        return provider_pb2.ReadResponse(id=record["id"], properties=to_struct(outputs), inputs=to_struct(inputs))

    @_answers
    def Delete(self, request: Any, context: Any) -> Any:
        kind, _ = self._kind(request.urn)
        with self.state.change() as cloud:
            record = cloud.get(request.id)
            if record is None:
                return empty_pb2.Empty()  # gone already, e.g. with its group
            check_delete(Request(kind, record["id"], record["inputs"], cloud, self.subscription))
            if kind.short == "AgentPool":
                begin(cloud, request.id, "Deleting")
            gone = cloud.remove(request.id)
        try:
            effects.deleted(kind.short, request.id, gone, self.layout, self.state)
        finally:
            self._over(kind, request.id)
        return empty_pb2.Empty()

    @_answers
    def Invoke(self, request: Any, context: Any) -> Any:
        result = invokes.invoke(request.tok, from_struct(request.args), self.state.read(), self.subscription, self.layout)
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(result))
        return response

    # parts

    def _kind(self, urn: str) -> tuple[ResourceType, dict[str, Any]]:
        token = urn.split("::")[2].split("$")[-1]
        shape = schema.schema(token)
        if token not in RESOURCE_TYPES:
            raise schema.UnknownType(f"the stand-in for Azure does not know {token} yet: add it to rehearsal/azure/resources.py")
        return RESOURCE_TYPES[token], shape

    def _name(self, kind: ResourceType, shape: dict[str, Any], inputs: dict[str, Any], old: dict[str, Any], request: Any) -> None:
        """Fills in a missing name: `default` for a resource that can have only one name, otherwise the Pulumi name and eight digits."""
        if kind.name in inputs or kind.name not in shape["properties"]:
            return
        if kind.fixed_name or (kind.name in FIXED_ID_PARTS):
            inputs[kind.name] = kind.fixed_name or FIXED_ID_PARTS[kind.name]
        elif kind.name in old:
            inputs[kind.name] = old[kind.name]
        elif kind.short == "RoleAssignment":
            inputs[kind.name] = computed.guid(request.urn, request.randomSeed.hex())
        else:
            inputs[kind.name] = request.urn.rsplit("::", 1)[1] + (request.randomSeed.hex() or "0" * 8)[:8]

    def _location(self, inputs: dict[str, Any]) -> Any:
        """Returns the provider's region, or else that of the resource group, as the real provider does."""
        if self.config.get("location"):
            return self.config["location"]
        group = inputs.get("resourceGroupName")
        if not isinstance(group, str):
            return UNKNOWN if group is UNKNOWN else None
        record = self.state.read().get(f"/subscriptions/{self.subscription.subscription_id}/resourceGroups/{group}")
        return record["inputs"].get("location") if record else None

    def _write(self, cloud: Cloud, kind: ResourceType, shape: dict[str, Any], identifier: str, inputs: dict[str, Any]) -> dict[str, Any]:
        request = Request(kind, identifier, inputs, cloud, self.subscription, cloud.get(identifier))
        check_write(request)
        if kind.short == "AgentPool":
            begin(cloud, identifier, "Updating" if request.old else "Creating")
        put_pools(cloud, identifier, inputs)
        version = control_plane.kubernetes_version() if kind.short == "ManagedCluster" else ""
        known = {*shape["outputs"]["properties"], *shape["properties"]} - {"id"}
        outputs = {key: value for key, value in computed.outputs(request, version).items() if key in known}
        record = {"id": identifier, "token": kind.token, "inputs": inputs, "outputs": outputs}
        cloud.put(record)
        return json.loads(json.dumps({**record, "outputs": computed.current(record, cloud)}))

    def _applied(self, kind: ResourceType, record: dict[str, Any]) -> None:
        try:
            effects.written(kind.short, record, self.layout, self.state)
        finally:
            self._over(kind, record["id"])

    def _over(self, kind: ResourceType, identifier: str) -> None:
        if kind.short == "AgentPool":
            with self.state.change() as cloud:
                end(cloud, identifier)

    def note_refusal(self, urn: str, error: Exception) -> None:
        """Records a refusal for the report."""
        with self.state.change() as cloud:
            cloud.content["refusals"].append(
                {
                    "resource": urn.rsplit("::", 1)[-1],
                    "type": urn.split("::")[2].split("$")[-1] if urn.count("::") >= 3 else urn,
                    "code": getattr(error, "code", type(error).__name__),
                    "message": getattr(error, "message", str(error)),
                }
            )


def _random_name(name: Any) -> bool:
    return isinstance(name, str) and re.search(r"[0-9a-f]{8}$", name) is not None


def _previewed(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """Returns what a preview knows: the inputs, and unknown values for the rest, also inside known objects.

    The real provider does the same (PreviewOutputs in pulumi/pulumi-azure-native provider/pkg/convert).
    """
    shape = {"kind": "object", "properties": {key: kind for key, kind in outputs["properties"].items() if key != "id"}}
    return {
        **_preview(inputs, shape, outputs["objects"]),
        **{key: value for key, value in inputs.items() if key not in shape["properties"]},
    }


def _preview(value: Any, kind: dict[str, Any], objects: dict[str, Any]) -> Any:
    if kind["kind"] == "object" and isinstance(value, dict):
        properties = kind.get("properties") or objects[kind["ref"]]["properties"]
        return {key: _preview(value[key], inner, objects) if value.get(key) is not None else UNKNOWN for key, inner in properties.items()}
    if kind["kind"] == "map" and isinstance(value, dict):
        return {key: _preview(item, kind["of"], objects) for key, item in value.items()}
    if kind["kind"] == "list" and isinstance(value, list):
        return [_preview(item, kind["of"], objects) for item in value]
    if isinstance(value, (dict, list)) and kind["kind"] != "any":
        return UNKNOWN  # a list of identities goes in, a map comes out: the SDK insists
    return value


def provider_from_environment() -> Provider:
    """Returns the provider of the rehearsal that this process belongs to."""
    return Provider(Layout.from_environment(), os.environ.get("REHEARSAL_SUBSCRIPTION", "default"))
