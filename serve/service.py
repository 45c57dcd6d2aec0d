"""One service: its processes started, watched, replaced and ended."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from engines.envoy.config import ADMIN_PORT
from engines.workload import Server
from rehearsal import processes
from rehearsal.ports import free_ports
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
"""Each process of a service has this variable, with the service's folder."""
STEADY_SECONDS = 5.0
"""A process that ends sooner after its start is not started again."""
CONFIG_FOLDER = "config"
OBSERVER_PROGRAM = "prometheus"


@dataclass(kw_only=True)
class Service:
    """Pipelines and their coordinator on this machine."""

    folder: Path
    scheme: str
    port: int
    pipelines: list[Member]
    name_server: NameServer
    """Knows the pipelines that run and stay, as the cluster's DNS does."""
    coordinator: Member
    observer: Member | None
    """Prometheus, where it is installed."""
    files: dict[str, str]
    metrics: dict[str, str]
    """Member's name -> address and port whose `/metrics` is its own."""
    substitutions: tuple[Substitution, ...] = field(default=())

    @property
    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def members(self) -> list[Member]:
        return [*self.pipelines, self.coordinator, *([self.observer] if self.observer else [])]

    def start(self, say: Say) -> None:
        """Returns when requests are answered. Raises ServeError; `end` is to be called in any case."""
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
        """As a rolling change does with its pod: out of the DNS, serve on, stop, start again. Returns when it is ready."""
        member = self.pipelines[pipeline]
        member.leaving = True
        time.sleep(member.pre_stop_seconds)
        member.stop()
        member.start()
        member.wait_until_ready(say)
        member.leaving = False

    def mend(self, say: Say) -> None:
        """Start again what ended, as the kubelet would. Raises ServeError when that does not help."""
        for member in self.members:
            if member.running:
                continue
            status = member.status
            if time.monotonic() - member.started < STEADY_SECONDS:
                raise ServeError(f"{member.name} ended with {status} again: {member.complaint}; log: {member.log}")
            say(f"  {member.name}: ended with {status}, started again")
            member.start()

    def end(self) -> None:
        """Nothing is left running, whatever state it was in."""
        for member in self.members:
            member.ask_to_stop()
        for member in self.members:
            member.stop()
        processes.end(self.folder, MARK)
        self.name_server.close()


def end_left_behind(folder: Path, say: Say) -> None:
    """What a run in this folder left that was killed itself: it holds the port that the next one is to have."""
    if left := processes.end(folder.resolve(), MARK):
        say(f"ended {len(left)} processes that an earlier run left behind")


def service(rendered: Rendered, *, model: Path, port: int, folder: Path, secrets: Path | None = None) -> Service:
    """The service of one rendered stack, not started; `secrets` has a folder for each Secret of the stack. Raises ServeError."""
    _check(model, port)
    folder = folder.resolve()
    coordinator = rendered.workload.coordinator
    addresses = [f"127.0.1.{number}" for number in range(1, rendered.pipelines + 1)]
    [shared] = _ports(1, *addresses)
    free = _ports(len(coordinator.ports) + 2)
    [serving] = rendered.workload.serving_ports
    ports = {each.number: port if each == serving else free.pop() for each in coordinator.ports} | {ADMIN_PORT: free.pop()}
    pipelines = _pipelines(rendered.workload.shard, addresses, shared, model, folder)
    names = NameServer(HOST, rendered.leaders, lambda: [one.host for one in pipelines if one.running and not one.leaving])
    around = Around(folder=folder / CONFIG_FOLDER, ports=ports, names={rendered.leaders: shared}, name_server=names.port, secrets=secrets)
    command, files = coordinator_command(coordinator, around)
    proxy = Member(
        name="coordinator",
        command=command,
        log=folder / "logs" / "coordinator.log",
        environment=_environment(command, folder),
        probe_port=ports[coordinator.port(coordinator.readiness.port)],
        probe_path=coordinator.readiness.path,
    )
    metrics = {proxy.name: f"{HOST}:{ports[coordinator.port(coordinator.metrics_port)]}"}
    metrics |= {one.name: f"{one.host}:{one.probe_port}" for one in pipelines}
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
        substitutions=tuple(each for one in (pipelines[0], proxy, observer) if one for each in one.command.substitutions),
    )


def _check(model: Path, port: int) -> None:
    if not model.is_file():
        raise ServeError(f"no model file {model}")
    for program in (SHARD_PROGRAM, COORDINATOR_PROGRAM):
        if shutil.which(program) is None:
            raise ServeError(f"{program} is not on PATH: run this with `make serve`, or `make toolchain` first")
    if not _is_free(port):
        raise ServeError(f"port {port} is in use: end what listens there, or give another one with --port (make serve PORT=...)")


def _pipelines(shard: Server, addresses: list[str], port: int, model: Path, folder: Path) -> list[Member]:
    """One on each address; one DNS name has many addresses, and all of them the same port."""
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
            probe_path=shard.readiness.path,
            pre_stop_seconds=shard.pre_stop_seconds,
        )
        for index, (command, address) in enumerate(zip(commands, addresses, strict=True))
    ]


def _prometheus(port: int, targets: Mapping[str, str], rendered: Rendered, folder: Path) -> tuple[Member | None, dict[str, str]]:
    """It scrapes each member, and has the cluster's rules; its files."""
    if shutil.which(OBSERVER_PROGRAM) is None:
        return None, {}
    jobs = [
        {"job_name": name.replace(" ", "-"), "metrics_path": rendered.workload.metrics_path, "static_configs": [{"targets": [target]}]}
        for name, target in targets.items()
    ]
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
            Substitution(what="scraped by Prometheus", pod="what Kubernetes finds", here="each process", because="no cluster to ask"),
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
    often = {"scrape_interval": "5s", "evaluation_interval": "5s"}
    return member, {file: yaml.safe_dump({"global": often, "rule_files": [rules], "scrape_configs": jobs}), rules: rendered.rules}


def _environment(command: Command, folder: Path) -> dict[str, str]:
    return os.environ | command.environment | {MARK: str(folder)}


def _ports(count: int, *addresses: str) -> list[int]:
    """Each free on all of the addresses. Raises ServeError."""
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
