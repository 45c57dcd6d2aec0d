"""What kube-score, a scanner from outside, says against the objects of every kind of stack; `kube_score.yaml` has what stays, and why."""

import copy
import functools
import json
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from infra.kubernetes import names
from tests.infra.registered import STACKS, manifests

pytestmark = pytest.mark.process

EXCEPTIONS = yaml.safe_load((Path(__file__).parent / "kube_score.yaml").read_text())


def known_to_the_scanner(manifest):
    """A LeaderWorkerSet as Deployments, one for each template: the scanner does not know the type."""
    template = manifest.get("spec", {}).get("leaderWorkerTemplate")
    if template is None:
        return [manifest]
    roles = [role for role in ("leaderTemplate", "workerTemplate") if role in template]
    return [_deployment(manifest, role, template[role], leads=role == roles[0]) for role in roles]


def _deployment(manifest, role, template, *, leads):
    pod = copy.deepcopy(template)
    pod["metadata"]["labels"] |= names.LEADER_LABEL if leads else {}
    metadata = manifest["metadata"] | {"name": f"{manifest['metadata']['name']}-{role}"}
    spec = {"replicas": 2, "selector": {"matchLabels": pod["metadata"]["labels"]}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def findings(objects):
    """Check, what it says, and where, of everything that the scanner does not like."""
    program = shutil.which("kube-score")
    assert program, "kube-score is not there: make toolchain"
    text = "\n---\n".join(json.dumps(one) for manifest in objects for one in known_to_the_scanner(manifest))
    command = [program, "score", "--kubernetes-version", "v1.36", "--output-format", "json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.stdout, done.stderr
    for scored in json.loads(done.stdout):
        metadata = scored["object_meta"]
        where = f"{scored['type_meta']['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        for check in scored["checks"]:
            if check["grade"] < 10 and not check["skipped"]:
                for comment in check["comments"] or []:
                    place = f"{where}/{comment['path']}" if comment["path"] else where
                    yield check["check"]["id"], comment["summary"], place


@functools.cache
def found(stack):
    return tuple(findings(manifests(stack)))


def excepted(finding):
    """The exceptions that speak of a finding."""
    check, says, place = finding
    return [
        one["why"]
        for one in EXCEPTIONS
        if one["check"] == check and fnmatchcase(says, one["says"]) and any(fnmatchcase(place, pattern) for pattern in one["objects"])
    ]


@pytest.mark.parametrize("stack", STACKS)
def test_the_scanner_finds_nothing_that_has_no_reason(stack):
    assert [finding for finding in found(stack) if not excepted(finding)] == []


def test_every_exception_is_still_needed():
    still = {reason for stack in STACKS for finding in found(stack) for reason in excepted(finding)}
    assert [one for one in EXCEPTIONS if one["why"] not in still] == []


BROKEN = {
    "a moving tag": (lambda container: container.update(image="prometheus:latest"), "container-image-tag"),
    "no limit of memory": (lambda container: container["resources"]["limits"].pop("memory"), "container-resources"),
    "privileged": (lambda container: container["securityContext"].update(privileged=True), "container-security-context-privileged"),
    "no readiness probe": (lambda container: container.pop("readinessProbe"), "pod-probes"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_seen(mistake):
    change, check = BROKEN[mistake]
    objects = copy.deepcopy(manifests("spot, named"))
    [prometheus] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", names.PROMETHEUS)]
    change(prometheus["spec"]["template"]["spec"]["containers"][0])
    new = set(findings(objects)) - set(found("spot, named"))
    assert [finding[0] for finding in new if not excepted(finding)] == [check]
