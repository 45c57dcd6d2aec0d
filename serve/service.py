"""One service: starts, watches, replaces and stops its processes."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.envoy.config import ADMIN_PORT
from engines.workload import Server
from rehearsal import processes
from rehearsal.ports import free_ports
from rehearsal.programs import MissingProgramError, require_programs
from serve.errors import ServeError
from serve.member import Member, Say
from serve.name_server import NameServer
from serve.rendering import Rendered
from serve.substitutions import (
    COORDINATOR_PROGRAM,
    HOST,
    SHARD_PROGRAM,
    Around,
    Command,
    Here,
    Substitution,
    coordinator_command,
    shard_command,
)

MARK = "ZIG_AI_SERVE"
"""An environment variable that each process of a service has; its value is the service's folder."""
STEADY_SECONDS = 5.0
"""A process that ends within this time of its start is not started again."""
CONFIG_FOLDER = "config"
OBSERVER_PROGRAM = "prometheus"


@dataclass(kw_only=True)
class Service:
    """The pipelines and their coordinator on this machine."""

    folder: Path
    scheme: str
    port: int
    pipelines: list[Member]
    name_server: NameServer
    """Names the pipelines that run and are not about to stop, as the cluster's DNS does."""
    coordinator: Member
    observer: Member | None
    """Prometheus, if it is installed."""
    files: dict[str, str]
    metrics: dict[str, str]
    """Maps a member's name to the address and port of its metrics."""
    substitutions: tuple[Substitution, ...] = field(default=())

    @property
    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def members(self) -> list[Member]:
        return [*self.pipelines, self.coordinator, *([self.observer] if self.observer else [])]

    def start(self, say: Say) -> None:
        """Starts all processes, and returns when requests are answered. Raises ServeError; call `end` in any case."""
        config = self.folder / CONFIG_FOLDER
        config.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (config / name).write_text(content)
        for member in self.members:
            member.log.parent.mkdir(parents=True, exist_ok=True)
            member.log.unlink(missing_ok=True)
        self.name_server.start()
        for pipeline in self.pipelines:
            pipeline.start()
        for pipeline in self.pipelines:
            pipeline.wait_until_ready(say)
        rest = self.members[len(self.pipelines) :]
        for member in rest:
            member.start()
        for member in rest:
            member.wait_until_ready(say)

    def replace(self, pipeline: int, say: Say = lambda _: None) -> None:
        """Replaces a pipeline as a rolling update does: out of the DNS, serve on, stop, start again. Returns when it is ready."""
        member = self.pipelines[pipeline]
        member.leaving = True
        time.sleep(member.pre_stop_seconds)
        member.stop()
        member.start()
        member.wait_until_ready(say)
        member.leaving = False

    def mend(self, say: Say) -> None:
        """Starts processes that ended again, as the kubelet would. Raises ServeError for one that ended soon after its start."""
        for member in self.members:
            if member.running:
                continue
            status = member.status
            if time.monotonic() - member.started < STEADY_SECONDS:
                raise ServeError(f"{member.name} ended with {status} again: {member.complaint}; log: {member.log}")
            say(f"  {member.name}: ended with {status}, started again")
            member.start()

    def end(self) -> None:
        """Stops every process, whatever state it is in."""
        for member in self.members:
            member.ask_to_stop()
        for member in self.members:
            member.stop()
        processes.end(self.folder, MARK)
        self.name_server.close()


def end_left_behind(folder: Path, say: Say) -> None:
    """Stops the processes of an earlier run in this folder that was killed: they still hold its port."""
    if left := processes.end(folder.resolve(), MARK):
        say(f"stopped {len(left)} processes that an earlier run left behind")


def service(rendered: Rendered, *, model: Path, port: int, folder: Path, secrets: Path | None = None) -> Service:
    """Builds the service of a rendered stack without starting it; `secrets` has a folder for each Secret. Raises ServeError."""
    _check(model, port)
    folder = folder.resolve()
    coordinator = rendered.workload.coordinator
    addresses = [f"127.0.1.{number}" for number in range(1, rendered.pipelines + 1)]
    [shared] = _ports(1, *addresses)
    free = _ports(len(coordinator.ports) + 2)
    [serving] = rendered.workload.serving_ports
    ports = {listener.number: port if listener == serving else free.pop() for listener in coordinator.ports} | {ADMIN_PORT: free.pop()}
    pipelines = _pipelines(rendered.workload.shard, addresses, shared, model, folder)
    names = NameServer(
        HOST, rendered.leaders, lambda: [pipeline.host for pipeline in pipelines if pipeline.running and not pipeline.leaving]
    )
    around = Around(folder=folder / CONFIG_FOLDER, ports=ports, names={rendered.leaders: shared}, name_server=names.port, secrets=secrets)
    command, files = coordinator_command(coordinator, around)
    proxy = Member(
        name="coordinator",
        command=command,
        log=folder / "logs" / "coordinator.log",
        environment=_environment(command, folder),
        probe_port=ports[coordinator.port(coordinator.readiness.port)],
        probe_path=_probe_path(coordinator),
    )
    metrics = {proxy.name: f"{HOST}:{ports[coordinator.port(coordinator.metrics_port)]}"}
    metrics |= {pipeline.name: f"{pipeline.host}:{pipeline.probe_port}" for pipeline in pipelines}
    observer, scraping = _prometheus(free.pop(), metrics, rendered, folder)
    return Service(
        folder=folder,
        scheme=serving.name,
        port=port,
        pipelines=pipelines,
        name_server=names,
        coordinator=proxy,
        observer=observer,
        files=files | scraping,
        metrics=metrics,
        substitutions=tuple(
            difference for member in (pipelines[0], proxy, observer) if member for difference in member.command.substitutions
        ),
    )


def _probe_path(server: Server) -> str:
    if server.readiness.path is None:
        raise ServeError("the rendered readiness probe asks no path over HTTP, so nothing here can wait for the server")
    return server.readiness.path


def _check(model: Path, port: int) -> None:
    if not model.is_file():
        raise ServeError(f"the model file {model} does not exist")
    try:
        require_programs(SHARD_PROGRAM, COORDINATOR_PROGRAM, target="serve")
    except MissingProgramError as problem:
        raise ServeError(str(problem)) from None
    if not _is_free(port):
        raise ServeError(
            f"port {port} is in use: stop the program that listens there, or choose another port with --port (make serve PORT=...)"
        )


def _pipelines(shard: Server, addresses: list[str], port: int, model: Path, folder: Path) -> list[Member]:
    """Returns a pipeline for each address. All share one port, because one DNS name stands for all of their addresses."""
    threads = max(1, (os.cpu_count() or 1) // len(addresses))
    commands = [shard_command(shard, Here(model=model, host=address, port=port, threads=threads)) for address in addresses]
    return [
        Member(
            name=f"pipeline {index}",
            command=command,
            doing=f"loading {model}",
            log=folder / "logs" / f"pipeline-{index}.log",
            environment=_environment(command, folder),
            host=address,
            probe_port=port,
            probe_path=_probe_path(shard),
            pre_stop_seconds=shard.pre_stop_seconds,
        )
        for index, (command, address) in enumerate(zip(commands, addresses, strict=True))
    ]


def _prometheus(port: int, targets: Mapping[str, str], rendered: Rendered, folder: Path) -> tuple[Member | None, dict[str, str]]:
    """Returns Prometheus and its files: it scrapes each member by the cluster's jobs and has the cluster's rules. It is None if it is not
    installed. `targets`: the coordinator's address, then the pipelines'."""
    if shutil.which(OBSERVER_PROGRAM) is None:
        return None, {}
    coordinator, *pipelines = targets.values()
    file, rules = "prometheus.yml", "rules.yml"
    command = Command(
        arguments=(
            OBSERVER_PROGRAM,
            f"--config.file={folder / CONFIG_FOLDER / file}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={HOST}:{port}",
        ),
        environment={},
        substitutions=(
            Substitution(
                what="scraped by Prometheus", pod="what Kubernetes finds", here="each process", because="there is no cluster to ask"
            ),
            Substitution(what="scrape jobs", pod="of GPUs and nodes too", here="of the servers", because="there is no GPU and no kubelet"),
        ),
    )
    member = Member(
        name="prometheus",
        command=command,
        log=folder / "logs" / "prometheus.log",
        environment=_environment(command, folder),
        probe_port=port,
        probe_path="/-/ready",
    )
    config = rendered.monitoring.prometheus_yaml(rules, f"{HOST}:{port}", coordinator, pipelines)
    return member, {file: config, rules: rendered.monitoring.rules}


def _environment(command: Command, folder: Path) -> dict[str, str]:
    return os.environ | command.environment | {MARK: str(folder)}


def _ports(count: int, *addresses: str) -> list[int]:
    """Returns ports that are free on all of the addresses. Raises ServeError."""
    try:
        return free_ports(count, *addresses)
    except OSError as error:
        alias = f"; on macOS: sudo ifconfig lo0 alias {addresses[-1]}" if addresses else ""
        raise ServeError(f"{error}{alias}") from None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
