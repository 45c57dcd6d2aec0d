"""Where the value of a setting is: a field of a resource, or a key of a file in one. Plain text; no Pulumi."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from settings.flatten import text_of

AS_GIVEN = "as given"
"""What a place holds when that is the setting's own value."""


@dataclass(frozen=True, kw_only=True)
class Place:
    kind: str
    """Of a Kubernetes object or an Azure resource; `Pulumi resource` for what only the engine knows, `plan` for the plan itself."""
    name: str
    """`namespace/name`, or the Azure name; `*` stands for a hash. All that match hold it: of node counts the sum, of zones the union."""
    path: str
    """As `path_text` writes it; it goes on inside of a YAML file that is the value of a ConfigMap's key."""
    holds: str | None = AS_GIVEN
    """The value there as text; None when the setting keeps it from being there."""
    file: str = ""
    """The file and line that a program reads, when that says more than the path."""
    outcome: Literal["in force", "passed through", "translated", "not supported"] = "in force"
    given: str = ""
    """What is honoured instead, for `translated`."""
    because: str = ""
    source: str = ""


@dataclass(frozen=True)
class Resource:
    """Makes the places of one resource."""

    kind: str
    name: str = ""

    def __call__(self, path: str, holds: Any = AS_GIVEN, **more: Any) -> Place:
        return Place(kind=self.kind, name=self.name, path=path, holds=None if holds is None else text_of(holds), **more)


PLAN = Resource("plan")
Lines = Iterator[tuple[str, Place]]
"""Key of a setting, and a place of its value."""
