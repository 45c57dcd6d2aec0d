"""What kube-score, a scanner from outside, says against the objects of every kind of stack; `kube_score.yaml` has what stays, and why."""

import copy
import functools
import json
import shutil
import subprocess

import pytest

from infra.kubernetes import names
from tests.infra.registered import STACKS, manifests
from tests.infra.scanners.judged import Exceptions, Finding, deployment, known_to_scanners

pytestmark = pytest.mark.process


def findings(objects):
    """Everything that the scanner does not like."""
    program = shutil.which("kube-score")
    assert program, "kube-score is not there: make toolchain"
    text = "\n---\n".join(json.dumps(one) for manifest in objects for one in known_to_scanners(manifest))
    command = [program, "score", "--kubernetes-version", "v1.36", "--output-format", "json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.stdout, done.stderr
    for scored in json.loads(done.stdout):
        metadata = scored["object_meta"]
        where = f"{scored['type_meta']['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        for check in scored["checks"]:
            if check["grade"] < 10 and not check["skipped"]:
                for comment in check["comments"] or []:
                    yield Finding(check["check"]["id"], comment["summary"], f"{where}/{comment['path']}" if comment["path"] else where)


@functools.cache
def found(stack):
    return tuple(findings(manifests(stack)))


@pytest.mark.parametrize("stack", STACKS)
def test_the_scanner_finds_nothing_that_has_no_reason(stack):
    assert Exceptions("kube_score.yaml").without_reason(found(stack)) == []


def test_every_exception_is_still_needed():
    exceptions = Exceptions("kube_score.yaml")
    for stack in STACKS:
        exceptions.without_reason(found(stack))
    assert exceptions.needless() == []


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
    change(deployment(objects, names.PROMETHEUS)["spec"]["template"]["spec"]["containers"][0])
    new = set(findings(objects)) - set(found("spot, named"))
    assert [finding.check for finding in Exceptions("kube_score.yaml").without_reason(new)] == [check]
