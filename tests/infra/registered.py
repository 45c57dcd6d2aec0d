"""What each kind of stack registers, as plain values, for judges from outside: Azure's bodies and Kubernetes' objects."""

from __future__ import annotations

import functools
from typing import Any

from infra.registration import Registered, registration
from planner import plan
from tests import shipped
from tests.infra import variations
from tests.infra.kubernetes.conftest import settings_of
from tests.infra.variations import VARIATIONS

STACKS = (*VARIATIONS, *shipped.STACKS[1:], "watched by Azure")
_WATCHED = {"monitoring": {"managedPrometheus": True}, "cluster": {"authorizedIpRanges": ["20.42.7.0/24"], "tier": "Premium"}}


@functools.cache
def registered(stack: str) -> tuple[Registered, ...]:
    """The resources of one of `STACKS`, components included."""
    if stack in shipped.STACKS:
        asked = settings_of(stack)
    elif stack == "watched by Azure":
        asked = variations.checked(variations.merged(variations.document(settings_of("prod")), _WATCHED))
    else:
        asked = variations.variation(stack)
    return registration(plan(asked), "test").resources


def manifests(stack: str) -> list[dict[str, Any]]:
    """Its Kubernetes objects, but for those that the LeaderWorkerSet controller's chart renders."""
    return [dict(one.inputs) for one in registered(stack) if one.type.startswith("kubernetes:") and one.kind != "Chart"]
