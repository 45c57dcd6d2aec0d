"""What every Azure component of a stack needs to know: names, place, subscription and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import pulumi

from infra.naming import Names

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class AzureContext:
    """Passed to every component instead of five loose arguments. Plain values but for what Azure itself says."""

    names: Names
    location: str
    resource_group_name: pulumi.Input[str]
    subscription_id: pulumi.Input[str]
    tags: Mapping[str, str]


def answered(value: _T | None, what: str) -> _T:
    """A value of Azure's answer that the SDK's types leave optional. Raises ValueError where Azure left it out."""
    if value is None:
        raise ValueError(f"Azure's answer has no {what}")
    return value
