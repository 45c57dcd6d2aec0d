"""The stand-in for Azure as the engine sees it: over gRPC, in this process."""

from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from rehearsal.azure.protocol import from_struct, to_struct
from rehearsal.azure.provider import Provider


class AzureError(Exception):
    """The message that the engine would show to the user."""


@dataclass
class Created:
    id: str
    outputs: dict
    inputs: dict = field(default_factory=dict)


class AzureClient:
    """Calls a provider that listens on a port of its own."""

    def __init__(self, layout, subscription="default"):
        self.provider = Provider(layout, subscription)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(self.provider, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._stub = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def close(self):
        self._server.stop(0)

    def _call(self, method, request):
        try:
            return getattr(self._stub, method)(request)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            raise AzureError(error.details()) from None

    def check(self, token, inputs, olds=None):
        """(inputs as the provider fills them in, {path: reason})."""
        request = provider_pb2.CheckRequest(urn=urn(token), news=to_struct(inputs), olds=to_struct(olds or {}), randomSeed=b"\x01" * 32)
        answer = self._call("Check", request)
        return from_struct(answer.inputs), {failure.property: failure.reason for failure in answer.failures}

    def create(self, token, preview=False, **inputs):
        filled, failures = self.check(token, inputs)
        if failures:
            raise AzureError("; ".join(f"{path}: {reason}" for path, reason in failures.items()))
        answer = self._call("Create", provider_pb2.CreateRequest(urn=urn(token), properties=to_struct(filled), preview=preview))
        return Created(answer.id, from_struct(answer.properties))

    def update(self, token, created, preview=False, **inputs):
        olds = to_struct(created.outputs)
        request = provider_pb2.UpdateRequest(urn=urn(token), id=created.id, news=to_struct(inputs), olds=olds, preview=preview)
        return from_struct(self._call("Update", request).properties)

    def diff(self, token, old, new):
        request = provider_pb2.DiffRequest(urn=urn(token), old_inputs=to_struct(old), news=to_struct(new), olds=to_struct(old))
        return self._call("Diff", request)

    def read(self, token, identifier):
        answer = self._call("Read", provider_pb2.ReadRequest(urn=urn(token), id=identifier))
        return answer.id, from_struct(answer.properties), from_struct(answer.inputs)

    def refresh(self, token, resource, inputs):
        """What the engine has after a refresh of a resource that it has seen before with these inputs."""
        seen = to_struct(resource.outputs)
        answer = self._call("Read", provider_pb2.ReadRequest(urn=urn(token), id=resource.id, properties=seen, inputs=to_struct(inputs)))
        return Created(answer.id, from_struct(answer.properties), from_struct(answer.inputs))

    def delete(self, token, identifier):
        self._call("Delete", provider_pb2.DeleteRequest(urn=urn(token), id=identifier))

    def invoke(self, token, **args):
        answer = self._call("Invoke", provider_pb2.InvokeRequest(tok=f"azure-native:{token}", args=to_struct(args)))
        return from_struct(getattr(answer, "return"))


def urn(token, name="it"):
    return f"urn:pulumi:test::project::azure-native:{token}::{name}"


def refused(words, call, *args, **kwargs):
    """A call that must end with these words of Azure's."""
    with pytest.raises(AzureError) as caught:
        call(*args, **kwargs)
    assert words in str(caught.value)
