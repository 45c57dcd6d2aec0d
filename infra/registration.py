"""What `pulumi up` would register for a stack, as plain values: the whole program runs, but against no engine and no cloud.

A thread of its own with an event loop that never runs: resources are constructed, and nothing that waits for an answer goes on. What
only the cloud could say, such as an identity's client id, is `UNKNOWN`. Takes about 0.05 s once the SDKs are imported.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

import pulumi
from pulumi import _types as input_types
from pulumi.runtime import Mocks, register_stack_transformation, set_mocks
from pulumi.runtime.settings import ROOT, Settings

from engines.workload import Workload
from infra import deployment
from planner.fit.plan import Plan
from settings.account import Place
from settings.files import PROJECT

UNKNOWN = "known after the deployment"
"""Stands for a value that only the deployed resource has."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource as the program registers it."""

    type: str
    """Pulumi's token, such as `azure-native:containerservice:AgentPool`."""
    name: str
    """Pulumi's logical name."""
    inputs: Mapping[str, Any]
    """Nested values under the names that the API uses."""
    protect: bool
    components: tuple[str, ...]
    """Logical names of the components that it is part of, the innermost first."""

    @property
    def kind(self) -> str:
        return self.type.rsplit(":", 1)[1]

    @property
    def is_component(self) -> bool:
        """Whether it only groups others, and has no fields of its own."""
        return self.type.startswith(f"{PROJECT}:")

    @property
    def names(self) -> tuple[str, ...]:
        """`namespace/name` of a Kubernetes object; of an Azure resource every input that is a name."""
        if self.type.startswith("kubernetes:"):
            metadata = self.inputs.get("metadata", {})
            return ("/".join(filter(None, (metadata.get("namespace"), metadata.get("name")))),)
        named = (value for key, value in self.inputs.items() if key.endswith("Name"))
        return tuple(value for value in named if isinstance(value, str) and value != UNKNOWN)

    def is_at(self, place: Place) -> bool:
        """Whether the place is in this resource; one that is a whole component is in all of its parts."""
        if place.kind == "Pulumi resource":
            return any(fnmatchcase(name, place.name) for name in (self.name, *(() if place.path else self.components)))
        return self.kind == place.kind and any(fnmatchcase(name, place.name) for name in self.names)


@dataclass(frozen=True)
class Registration:
    """All resources of one stack, with the plan and the servers that they follow from."""

    plan: Plan
    stack: str
    workload: Workload
    resources: tuple[Registered, ...]

    def find(self, place: Place) -> list[Any]:
        """All objects of the place's kind and name, as nested values."""
        if place.kind == "plan":
            return [self.plan]
        found = [one for one in self.resources if one.is_at(place) and not (place.path and one.is_component)]
        return [{**one.inputs, "protect": one.protect} for one in found]


def registration(plan: Plan, stack: str, *, today: datetime.date | None = None) -> Registration:
    """Runs the stack's program without an engine; `today` as in `deployment.deploy`. A program that is being deployed is not disturbed."""
    with ThreadPoolExecutor(1) as thread:
        context = copy_context()
        return thread.submit(lambda: context.run(_record, plan, stack, today)).result()


class _NoCloud(Mocks):
    """Never asked, since the event loop never runs."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise NotImplementedError

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise NotImplementedError


def _record(plan: Plan, stack: str, today: datetime.date | None) -> Registration:
    """In a thread and a context of its own: Pulumi keeps its state in the context, and resources go to the event loop of their thread."""
    found: dict[pulumi.Resource, Registered] = {}

    def record(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        parent = found.get(args.opts.parent) if args.opts.parent else None
        names = _api_names(type(args.resource))
        found[args.resource] = Registered(
            type=args.type_,
            name=args.name,
            inputs={names.get(key, key): _plain(value) for key, value in args.props.items() if value is not None},
            protect=bool(args.opts.protect),
            components=(parent.name, *parent.components) if parent else (),
        )
        return pulumi.ResourceTransformationResult(args.props, _unregistered(args))

    loop = asyncio.new_event_loop()
    _drop_tasks(loop)
    asyncio.set_event_loop(loop)
    # The SDKs' classes are very many at once: looking through them for garbage takes a third of the time of a first registration.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # A new root and new settings, or else the tasks of this loop would be waited for with those of the program around.
        ROOT.set(None)
        Settings(project=PROJECT, stack=stack)
        set_mocks(_NoCloud(), project=PROJECT, stack=stack, preview=True)
        register_stack_transformation(record)
        workload = deployment.deploy(plan, stack, today=today).workload
    finally:
        loop.close()
        if collecting:
            gc.enable()
    return Registration(plan, stack, workload, tuple(found.values()))


class _Unanswered(asyncio.Future[Any]):
    """Stands for the answer of an engine that is not there. Nothing is kept of those who wait for it."""

    def add_done_callback(self, fn: Callable[..., object], /, *, context: Context | None = None) -> None:
        pass


def _drop_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Makes the loop drop every task at once instead of keeping thousands that never run."""
    unanswered = _Unanswered(loop=loop)

    def drop(
        loop: asyncio.AbstractEventLoop, task: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> asyncio.Future[Any]:
        task.close()
        return unanswered

    loop.set_task_factory(drop)


def _unregistered(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceOptions:
    """Options with which Pulumi constructs the resource as one that exists already. It then prepares no request to the engine, which takes
    twice the time of all the rest (aliases, and a stack trace for each resource).
    """
    options = copy(args.opts)
    options.aliases = None
    options.urn = f"urn:pulumi:none::{PROJECT}::{args.type_}::{args.name}"
    return options


def _api_names(resource: type[pulumi.Resource]) -> Mapping[str, str]:
    """The API's name of each argument of a resource, by the SDK's generated class of arguments; empty where there is none."""
    module = sys.modules[resource.__module__]
    for suffix in ("InitArgs", "Args"):
        arguments = getattr(module, f"{resource.__name__}{suffix}", None)
        if arguments is not None and input_types.is_input_type(arguments):
            return input_types.input_type_py_to_pulumi_names(arguments)
    return {}


def _plain(value: Any) -> Any:
    if isinstance(value, pulumi.Output):
        return UNKNOWN
    if input_types.is_input_type(type(value)):
        value = input_types.input_type_to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items() if child is not None}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value.value if isinstance(value, Enum) else value
