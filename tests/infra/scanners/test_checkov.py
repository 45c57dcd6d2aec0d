"""What checkov, a scanner from outside, says against the objects and the Azure resources of every kind of stack.

`checkov.yaml` has what stays, and why. A run takes ten seconds, most of it for its imports, so one run judges everything, mistakes too.
"""

import copy
import json
import os
import subprocess
import sys

import pytest

from infra.kubernetes import names
from rehearsal.azure.resources import RESOURCE_TYPES
from tests.azure_reference.test_bodies import resources
from tests.infra.registered import STACKS, manifests
from tests.infra.scanners.judged import Exceptions, Finding, deployment, known_to_scanners
from toolchain.cache import Cache

pytestmark = pytest.mark.process

BESIDE_PROPERTIES = ("location", "tags", "sku", "kind", "identity", "zones")
RENAMED = {"networkRuleSet": "networkAcls", "enableHttpsTrafficOnly": "supportsHttpsTrafficOnly"}
"""Where azure-native has another name than Azure, and a check reads it."""
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
CLUSTER, ACCOUNT = "azure-native:containerservice:ManagedCluster", "azure-native:storage:StorageAccount"


def in_a_template(type_, name, body):
    """A resource as it stands in a template for Azure Resource Manager, under Pulumi's name."""
    path = RESOURCE_TYPES[type_].id_template.split("/providers/")[-1]
    top = {key: body[key] for key in BESIDE_PROPERTIES if key in body}
    kind = "/".join(part for part in path.split("/") if part and "{" not in part)
    properties = {RENAMED.get(key, key): value for key, value in body.items() if key not in top}
    return {"type": kind, "apiVersion": "2025-01-01", "name": name, "properties": properties} | top


def every_object():
    found = {json.dumps(one): one for stack in STACKS for manifest in manifests(stack) for one in known_to_scanners(manifest)}
    return list(found.values())


def every_resource():
    found = {json.dumps(one): one for stack in STACKS for one in (in_a_template(*resource) for resource in resources(stack))}
    return list(found.values())


def container(change):
    """An object in which the container of Prometheus is changed."""
    broken = copy.deepcopy(deployment(manifests("spot, named"), names.PROMETHEUS))
    change(broken["spec"]["template"]["spec"]["containers"][0])
    return broken


def resource(type_, **changed):
    [(name, found)] = [(name, body) for kind, name, body in resources("prod") if kind == type_]
    return in_a_template(type_, name, found | changed)


MISTAKES = {
    "CKV_K8S_14": lambda: container(lambda one: one.update(image="prometheus:latest")),
    "CKV_K8S_13": lambda: container(lambda one: one["resources"]["limits"].pop("memory")),
    "CKV_K8S_16": lambda: container(lambda one: one["securityContext"].update(privileged=True)),
    "CKV_K8S_9": lambda: container(lambda one: one.pop("readinessProbe")),
    "CKV_AZURE_141": lambda: resource(CLUSTER, disableLocalAccounts=False),
    "CKV_AZURE_5": lambda: resource(CLUSTER, enableRBAC=False),
    "CKV_AZURE_3": lambda: resource(ACCOUNT, enableHttpsTrafficOnly=False),
    "CKV_AZURE_44": lambda: resource(ACCOUNT, minimumTlsVersion="TLS1_0"),
}
"""What must be found in each of these, by the check that is about it."""


def write(folder, name, content):
    """One file for Azure's resources, and one of Kubernetes' objects."""
    azure = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": [one for one in content if "apiVersion" in one and "type" in one]}
    (folder / f"{name}.json").write_text(json.dumps(azure))
    (folder / f"{name}.yaml").write_text("\n---\n".join(json.dumps(one) for one in content if "kind" in one and "metadata" in one))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Finding by finding, with the name of the file that it is in."""
    folder = tmp_path_factory.mktemp("checkov")
    write(folder, "all", every_object() + every_resource())
    for check, broken in MISTAKES.items():
        write(folder, check, [broken()])
    home = Cache.of_user().share / "checkov"
    assert home.exists(), "checkov is not there: make toolchain"
    command = [sys.executable, "-m", "checkov.main", "-d", str(folder), "--framework", "kubernetes", "arm"]
    command += ["--skip-download", "--output", "json", "--compact", "--quiet"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(home)}, cwd=folder, capture_output=True, text=True)
    assert done.stdout.startswith("["), done.stderr
    return json.loads(done.stdout)


def findings(report, file):
    for framework in report:
        for one in framework["results"]["failed_checks"]:
            if one["file_path"].lstrip("/").rsplit(".", 1)[0] == file:
                yield Finding(
                    one["check_id"], one["check_name"], one["resource"].replace(".", "/", 2 if one["file_path"].endswith("yaml") else 0)
                )


def test_the_scanner_has_read_everything(report):
    assert [framework["summary"]["parsing_errors"] for framework in report] == [0, 0]
    assert all(framework["summary"]["passed"] > 100 for framework in report)


def test_the_scanner_finds_nothing_that_has_no_reason(report):
    exceptions = Exceptions("checkov.yaml")
    assert set(exceptions.without_reason(findings(report, "all"))) == set()
    assert exceptions.needless() == []


@pytest.mark.parametrize("check", MISTAKES)
def test_a_mistake_is_seen(report, check):
    assert {finding.check for finding in Exceptions("checkov.yaml").without_reason(findings(report, check))} == {check}
