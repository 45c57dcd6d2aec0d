"""Every difference between a local process and its pod is defined in this file."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engines.workload import Server
from serve.errors import ServeError

HOST = "127.0.0.1"
"""The processes listen on this machine only."""

RESOLVER = "envoy.network.dns_resolver.cares"
"""The resolver in the coordinator's configuration that takes the address of a name server."""

CONTEXT_TOKENS = 16384
"""The KV cache of one pipeline, for all its requests together; it takes 0.4 GB of memory with the small model."""

SHARD_PROGRAM = "llama-server"
COORDINATOR_PROGRAM = "envoy"


@dataclass(frozen=True, kw_only=True)
class Substitution:
    what: str
    pod: str
    here: str
    because: str


@dataclass(frozen=True, kw_only=True)
class Here:
    """Where one pipeline runs on this machine."""

    model: Path
    host: str
    """Each pipeline has an address of its own, as a pod has; all have the same port."""
    port: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command of a process, and its differences from the pod's."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    substitutions: tuple[Substitution, ...]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A flag of llama-server with another value here; `value` gets the pod's value and this machine's."""

    flags: tuple[str, ...]
    value: Callable[[str, Here], str]
    because: str
    required: bool = False
    """Whether the flag must be there, because the server's own default would not fit this machine."""


_RULES = (
    _Rule(flags=("--model", "-m"), value=lambda _, here: str(here.model), because="a small model fits this machine", required=True),
    _Rule(flags=("--alias", "-a"), value=lambda _, here: here.model.stem, because="answers name the model that was used"),
    _Rule(flags=("--host",), value=lambda _, here: here.host, because="the service is for this machine only", required=True),
    _Rule(flags=("--port",), value=lambda _, here: str(here.port), because="any free port will do", required=True),
    _Rule(flags=("--n-gpu-layers", "--gpu-layers", "-ngl"), value=lambda _, here: "0", because="no GPU is used"),
    _Rule(
        flags=("--threads", "-t", "--threads-batch", "-tb"),
        value=lambda _, here: str(here.threads),
        because="the pipelines share this machine's CPUs",
    ),
    _Rule(
        flags=("--ctx-size", "-c"),
        value=lambda pod, _: str(min(int(pod), CONTEXT_TOKENS)),
        because="the KV cache is in this machine's memory",
    ),
    _Rule(
        flags=("--load-mode", "-lm"),
        value=lambda pod, _: pod.removesuffix("+mlock").replace("mlock", "mmap"),
        because="locking memory needs rights that a user lacks",
    ),
)


def shard_command(server: Server, here: Here) -> Command:
    """Returns the shard's llama-server command with the model, port and processor of this machine. Raises ServeError."""
    program, *arguments = _program(server, SHARD_PROGRAM)
    rules = {flag: rule for rule in _RULES for flag in rule.flags}
    missing = [rule.flags[0] for rule in _RULES if rule.required and not set(rule.flags) & set(arguments)]
    if missing:
        raise ServeError(f"the rendered command of a shard has no {missing[0]}: {' '.join((program, *arguments))}")
    command, substitutions = [program], []
    for flag, pod in pairs(arguments):
        rule = rules.get(flag)
        value = pod
        if rule and pod is not None and (value := rule.value(pod, here)) != pod:
            substitutions.append(Substitution(what=flag, pod=pod, here=value, because=rule.because))
        command += [flag] if value is None else [flag, value]
    environment, of_environment = _environment(server)
    return Command(arguments=tuple(command), environment=environment, substitutions=(*substitutions, *of_environment))


def _program(server: Server, name: str) -> tuple[str, ...]:
    """Returns the whole command with a program from PATH; the image's own entry point is the same program."""
    command = (*(server.command or (name,)), *server.args)
    return (name, *command[1:])


def pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yields each flag with its value, or with None for a switch. A value can be negative, because no flag begins with a digit."""
    index = 0
    while index < len(arguments):
        value = arguments[index + 1] if index + 1 < len(arguments) else None
        has_value = value is not None and not (value.startswith("-") and not value[1:2].isdigit())
        yield arguments[index], value if has_value else None
        index += 2 if has_value else 1


def _environment(server: Server) -> tuple[dict[str, str], tuple[Substitution, ...]]:
    """Keeps variables with literal values, and leaves out those from a pod's fields or a Secret, which do not exist here."""
    literal = {variable.name: variable.value for variable in server.env if variable.value is not None}
    gone = [variable.name for variable in server.env if variable.value is None]
    because = "a local process has neither a pod's fields nor Secrets"
    return literal, tuple(Substitution(what=name, pod="set", here="not set", because=because) for name in gone)


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the coordinator needs to know about this machine."""

    folder: Path
    """The folder for its files."""
    ports: Mapping[int, int]
    """Maps a port in the pod to the port here."""
    names: Mapping[str, int]
    """Maps a DNS name to the port of the servers that it names."""
    name_server: int
    """The port of the DNS server that knows these names."""
    secrets: Path | None
    """A folder that has a folder for each Secret."""


def coordinator_command(server: Server, around: Around) -> tuple[Command, dict[str, str]]:
    """Returns the coordinator's Envoy command, and the files that it reads by name. Raises ServeError."""
    moves = {server.config_dir: around.folder} | _secrets(server, around.secrets)
    files = {file.name: _at_home(_moved(file.content, moves), around) for file in server.config_files}
    program, *arguments = _program(server, COORDINATOR_PROGRAM)
    moved = [_moved(argument, moves) for argument in arguments]
    environment, of_environment = _environment(server)
    only = "the service is for this machine only"
    substitutions = (
        *(Substitution(what="files", pod=pod, here=str(here), because="there is no pod to mount them") for pod, here in moves.items()),
        *(Substitution(what="listener", pod=f":{pod}", here=f"{HOST}:{port}", because=only) for pod, port in around.ports.items()),
        *(
            Substitution(what="pipelines", pod=name, here=f"127.0.1.*:{port}", because="there are no pods with addresses")
            for name, port in around.names.items()
        ),
        Substitution(
            what="name server",
            pod="the cluster's",
            here=f"{HOST}:{around.name_server}",
            because="the cluster's name server does not exist here",
        ),
        *of_environment,
    )
    command = Command(arguments=(program, *moved), environment=environment, substitutions=substitutions)
    return command, files


def _secrets(server: Server, secrets: Path | None) -> dict[str, Path]:
    """Maps the folder of each mounted Secret in the pod to its folder here."""
    folders = {}
    for mounted in server.secrets.values():
        here = secrets / mounted.secret if secrets else None
        missing = [key for key in mounted.keys if here is None or not (here / key).is_file()]
        if here is None or missing:
            lacking = f"{here} has no {', '.join(missing)}" if here else "there are no Secrets on this machine"
            keys = ", ".join(mounted.keys)
            raise ServeError(
                f"the coordinator reads the Secret {mounted.secret} as files, but {lacking}: give --secrets FOLDER, with "
                f"{keys} in FOLDER/{mounted.secret}"
            )
        if unreadable := _unreadable(here, mounted.keys):
            raise ServeError(f"{here / unreadable} is not a file that the coordinator can read: it would start and refuse every client")
        folders[mounted.folder] = here.resolve()
    return folders


def _unreadable(folder: Path, keys: Collection[str]) -> str | None:
    """Returns the first file of a Secret that is not a certificate with its key, or not JSON."""
    for key in keys:
        try:
            if key == "tls.crt":
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / key, folder / "tls.key")
            elif key.endswith(".json"):
                json.loads((folder / key).read_text())
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            return key
    return None


def _moved(text: str, moves: Mapping[str, Path]) -> str:
    for pod, here in moves.items():
        text = text.replace(pod, str(here))
    return text


def _at_home(content: str, around: Around) -> str:
    """Rewrites one of Envoy's files so that every address is on this host."""
    document = yaml.safe_load(content)
    _move(document, around.ports, around.names)
    _ask(document, around.name_server)
    return yaml.safe_dump(document, sort_keys=False)


def _move(node: Any, ports: Mapping[int, int], names: Mapping[str, int]) -> None:
    for place in _mappings(node):
        address = place.get("socket_address")
        if isinstance(address, dict):
            host, port = address["address"], address["port_value"]
            if host in names:
                address["port_value"] = names[host]
            elif port in ports:
                address |= {"address": HOST, "port_value": ports[port]}
            else:
                raise ServeError(f"the coordinator's configuration has an address that does not exist on this machine: {host}:{port}")


def _ask(node: Any, name_server: int) -> None:
    for place in _mappings(node):
        if place.get("name") == RESOLVER:
            place["typed_config"]["resolvers"] = [{"socket_address": {"address": HOST, "port_value": name_server}}]


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(child)
