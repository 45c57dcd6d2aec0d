"""Everything that a process here gets told otherwise than its pod: this file, and nothing else."""

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
"""What runs here answers this machine only."""

RESOLVER = "envoy.network.dns_resolver.cares"
"""Of the coordinator's configuration: the one that asks a name server of a given address."""

CONTEXT_TOKENS = 16384
"""Of one pipeline's KV cache, for all its requests together: 0.4 GB of memory for the small model."""

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
    """An address of its own, as a pod has; all pipelines have the same port."""
    port: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process, and in what it differs from its pod's."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    substitutions: tuple[Substitution, ...]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A flag of llama-server whose value differs here: from the pod's value and this machine to the value here."""

    flags: tuple[str, ...]
    value: Callable[[str, Here], str]
    because: str
    required: bool = False
    """Without the flag a process would take the server's own default, which is not this machine's."""


_RULES = (
    _Rule(flags=("--model", "-m"), value=lambda _, here: str(here.model), because="a small model, so that it fits", required=True),
    _Rule(flags=("--alias", "-a"), value=lambda _, here: here.model.stem, because="what answers says which model it is"),
    _Rule(flags=("--host",), value=lambda _, here: here.host, because="for this machine only", required=True),
    _Rule(flags=("--port",), value=lambda _, here: str(here.port), because="one that is free", required=True),
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
        because="locking memory takes rights that a user lacks",
    ),
)


def shard_command(server: Server, here: Here) -> Command:
    """llama-server as the shard's pod has it, with this machine's model, port and processor. Raises ServeError."""
    program, *arguments = _program(server, SHARD_PROGRAM)
    rules = {flag: rule for rule in _RULES for flag in rule.flags}
    missing = [rule.flags[0] for rule in _RULES if rule.required and not set(rule.flags) & set(arguments)]
    if missing:
        raise ServeError(f"the rendered command of a shard has no {missing[0]}: {' '.join((program, *arguments))}")
    made, substitutions = [program], []
    for flag, pod in pairs(arguments):
        rule = rules.get(flag)
        value = rule.value(pod, here) if rule and pod is not None else pod
        made += [flag] if value is None else [flag, value]
        if value != pod:
            substitutions.append(Substitution(what=flag, pod=pod, here=value, because=rule.because))
    environment, of_environment = _environment(server)
    return Command(arguments=tuple(made), environment=environment, substitutions=(*substitutions, *of_environment))


def _program(server: Server, name: str) -> tuple[str, ...]:
    """The whole command, its program found on PATH; an image's own entry point is that program."""
    command = (*(server.command or (name,)), *server.args)
    return (name, *command[1:])


def pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each flag with its value, or None for a switch. A value may be negative; no flag begins with a digit."""
    index = 0
    while index < len(arguments):
        value = arguments[index + 1] if index + 1 < len(arguments) else None
        has_value = value is not None and not (value.startswith("-") and not value[1:2].isdigit())
        yield arguments[index], value if has_value else None
        index += 2 if has_value else 1


def _environment(server: Server) -> tuple[dict[str, str], tuple[Substitution, ...]]:
    """Literal variables as they are; a pod's own fields and Secrets do not exist here."""
    literal = {variable.name: variable.value for variable in server.env if variable.value is not None}
    gone = [variable.name for variable in server.env if variable.value is None]
    because = "a process has no pod's fields and no Secret"
    return literal, tuple(Substitution(what=name, pod="set", here="not set", because=because) for name in gone)


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the coordinator finds around it on this machine."""

    folder: Path
    """Where its files are to be written."""
    ports: Mapping[int, int]
    """Port in the pod -> port here."""
    names: Mapping[str, int]
    """DNS name -> port of what it stands for."""
    name_server: int
    """Port of the DNS that knows them."""
    secrets: Path | None
    """A folder with one for each Secret."""


def coordinator_command(server: Server, around: Around) -> tuple[Command, dict[str, str]]:
    """Envoy as the coordinator's pod has it, and the files that it reads. Raises ServeError."""
    moves = {server.config_dir: around.folder} | _secrets(server, around.secrets)
    files = {file.name: _at_home(_moved(file.content, moves), around) for file in server.config_files}
    program, *arguments = _program(server, COORDINATOR_PROGRAM)
    moved = [_moved(argument, moves) for argument in arguments]
    environment, of_environment = _environment(server)
    only = "for this machine only"
    substitutions = (
        *(Substitution(what="files", pod=pod, here=str(here), because="no pod mounts them") for pod, here in moves.items()),
        *(Substitution(what="listener", pod=f":{pod}", here=f"{HOST}:{port}", because=only) for pod, port in around.ports.items()),
        *(
            Substitution(what="pipelines", pod=name, here=f"127.0.1.*:{port}", because="no pods with addresses")
            for name, port in around.names.items()
        ),
        Substitution(what="name server", pod="the cluster's", here=f"{HOST}:{around.name_server}", because="only a cluster's knows pods"),
        *of_environment,
    )
    command = Command(arguments=(program, *moved), environment=environment, substitutions=substitutions)
    return command, files


def _secrets(server: Server, secrets: Path | None) -> dict[str, Path]:
    """Folder in the pod -> folder here, of the Secrets that are mounted as files."""
    found = {}
    for mounted in server.secrets.values():
        here = secrets / mounted.secret if secrets else None
        missing = [key for key in mounted.keys if here is None or not (here / key).is_file()]
        if here is None or missing:
            lacking = f"{here} has no {', '.join(missing)}" if here else "a process has no Secret"
            keys = ", ".join(mounted.keys)
            raise ServeError(
                f"the coordinator reads the Secret {mounted.secret} as files, and {lacking}: give --secrets FOLDER, with "
                f"{keys} in FOLDER/{mounted.secret}"
            )
        if unreadable := _unreadable(here, mounted.keys):
            raise ServeError(f"{here / unreadable} is not what the coordinator reads there: it would start and refuse every client")
        found[mounted.folder] = here.resolve()
    return found


def _unreadable(folder: Path, keys: Collection[str]) -> str | None:
    """The first of a Secret's files that is no certificate with its key, or no JSON."""
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
    """A file of Envoy's with every address on this host."""
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
                raise ServeError(f"the coordinator's configuration has an address that is nowhere on this machine: {host}:{port}")


def _ask(node: Any, name_server: int) -> None:
    for place in _mappings(node):
        if place.get("name") == RESOLVER:
            place["typed_config"]["resolvers"] = [{"socket_address": {"address": HOST, "port_value": name_server}}]


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(child)
