"""What the scanners are given of each kind of stack, and how their findings are held against the exceptions."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from infra.kubernetes import names

Manifest = dict[str, Any]


class Finding(NamedTuple):
    """What a scanner does not like: its check, its words, and the object, as the patterns of an exception name it."""

    check: str
    says: str
    place: str


class Exceptions:
    """The findings that stay, each with its reason, from the file of one scanner."""

    def __init__(self, file: str) -> None:
        self._all = yaml.safe_load((Path(__file__).parent / file).read_text())
        self._needed: set[str] = set()

    def without_reason(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings of which no exception speaks."""
        return [finding for finding in findings if not self._reasons(finding)]

    def needless(self) -> list[dict[str, Any]]:
        """The exceptions that spoke of no finding that was asked about."""
        return [one for one in self._all if one["why"] not in self._needed]

    def _reasons(self, finding: Finding) -> set[str]:
        reasons = {
            one["why"]
            for one in self._all
            if one["check"] == finding.check
            and fnmatchcase(finding.says, one.get("says", "*"))
            and any(fnmatchcase(finding.place, pattern) for pattern in one["objects"])
        }
        self._needed |= reasons
        return reasons


def known_to_scanners(manifest: Manifest) -> list[Manifest]:
    """A LeaderWorkerSet as Deployments, one for each template: the scanners do not know the type."""
    template = manifest.get("spec", {}).get("leaderWorkerTemplate")
    if template is None:
        return [manifest]
    roles = [role for role in ("leaderTemplate", "workerTemplate") if role in template]
    return [_deployment(manifest, role, template[role], leads=role == roles[0]) for role in roles]


def _deployment(manifest: Manifest, role: str, template: Manifest, *, leads: bool) -> Manifest:
    pod = copy.deepcopy(template)
    pod["metadata"]["labels"] |= names.LEADER_LABEL if leads else {}
    metadata = manifest["metadata"] | {"name": f"{manifest['metadata']['name']}-{role}"}
    spec = {"replicas": 2, "selector": {"matchLabels": pod["metadata"]["labels"]}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def deployment(objects: Iterable[Manifest], name: str) -> Manifest:
    """The Deployment of that name, to change it."""
    [found] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", name)]
    return found
