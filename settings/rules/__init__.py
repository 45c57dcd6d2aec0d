"""The rules that must hold between settings, within a section and across sections."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from settings.error_messages import key_text
from settings.problems import Problem
from settings.rules import network, nodes, workload
from settings.secrets import HIDDEN, is_secret
from settings.stack import StackSettings

RULES = (*workload.RULES, *nodes.RULES, *network.RULES)


def broken_rules(
    settings: StackSettings, *, unusable: Collection[str], document: Mapping[str, Any], stack: str | None
) -> Iterator[Problem]:
    """Yields the problems of every rule whose sections are all valid by themselves; `unusable` names those that are not.

    It also searches the whole document for credentials.
    """
    for rule in RULES:
        if not any(section in unusable for section in rule.sections):
            yield from rule.check(settings)
    if stack is not None and "azure" not in unusable:
        yield from network.names_fit_azure(settings, stack)
    for path, text in _texts(document):
        # A separate rule, which also knows their names, covers variables.
        if is_secret(text) and (path[:2] != ("shard", "env") or "shard" in unusable):
            yield Problem(
                key=key_text(path),
                value=HIDDEN,
                consequence="looks like a credential: anyone who can read the stack file or the rendered configuration could read it",
                fix="keep it in a Kubernetes Secret; a shard reads one by env with valueFrom: {secretKeyRef: {name: my-secret, key: "
                "my-key}}, and model.source by model.tokenSecret: {name: my-secret, key: my-key}",
            )


def _texts(value: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        for part, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(child, (*path, part))
