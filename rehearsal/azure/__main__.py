"""The plugin `python -m rehearsal.azure`, which the engine starts and ends. It prints its port and serves."""

from __future__ import annotations

import sys
from concurrent import futures

from rehearsal.azure.protocol import load_stubs

load_stubs()

import grpc  # noqa: E402
from pulumi.runtime.proto import provider_pb2_grpc  # noqa: E402

from rehearsal.azure.provider import provider_from_environment  # noqa: E402

MAX_MESSAGE = 400 * 1024 * 1024  # the engine's own limit


def main() -> None:
    """Serves one engine until the engine ends this process."""
    provider = provider_from_environment()
    server = grpc.server(
        # a cluster's creation holds a thread for seconds; the engine sends as many calls as it has resources ready
        futures.ThreadPoolExecutor(max_workers=64),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port)  # the engine reads the first line
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
