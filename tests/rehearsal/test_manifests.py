"""Every object of every kind of stack is given to the real API server, which keeps none of them.

It knows all its fields (`fieldValidation=Strict`), defaults and validates, and admits pods by the level of their namespace. A stack of a
rehearsal is prod or dev; these are all.
"""

import copy
import json
import time

import pytest
import yaml
from kubernetes import client

from infra.kubernetes import names
from rehearsal.cluster import control_plane
from rehearsal.cluster.api import Api
from rehearsal.layout import MARK, Layout
from tests.infra.registered import STACKS, manifests

pytestmark = pytest.mark.process

CUSTOM = ("leaderworkerset.x-k8s.io/v1", "keda.sh/v1alpha1")
"""What is not Kubernetes' own: the server knows the fields by the definitions that the chart and the add-on install."""
FOUNDATIONS = ("Namespace", "ServiceAccount", "PriorityClass")
"""What the admission of the others looks up."""


class Judge:
    """The API server, and what it has said of each object."""

    def __init__(self, api):
        self._api, self._said, self._kinds = api, {}, {}

    def problem(self, manifest, keep=False):
        """What is wrong with an object; None if nothing is. One that many stacks have is sent once."""
        text = json.dumps(manifest, sort_keys=True)
        if text not in self._said or keep:
            self._said[text] = self._ask(manifest, "" if keep else "&dryRun=All")
        return self._said[text]

    def _ask(self, manifest, query):
        try:
            answer = self._api.stream("POST", f"{self._path(manifest)}?fieldValidation=Strict{query}", manifest, timeout=10)
        except client.ApiException as error:
            # It is there already, which is the last thing that is looked at.
            return None if error.status == 409 else error.reason.replace('\\"', '"')
        return answer.headers.get("Warning")

    def _path(self, manifest):
        version, namespace = manifest["apiVersion"], manifest["metadata"].get("namespace")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._kinds:
            self._kinds[version] = {one["kind"]: one["name"] for one in self._api.call("GET", root)["resources"] if "/" not in one["name"]}
        return f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{self._kinds[version][manifest['kind']]}"


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A control plane with the types of KEDA and of LeaderWorkerSets, and what prod and dev are built on."""
    layout = Layout(tmp_path_factory.mktemp("manifests"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(layout.root))
        control_plane.start(layout, name="manifests", version=None, addons=frozenset({"keda"}))
        try:
            api = Api(layout)
            judge = Judge(api)
            for file in sorted((control_plane.share() / "lws" / "crd").glob("*.yaml")):
                judge.problem(yaml.safe_load(file.read_text()), keep=True)
            for version in CUSTOM:
                served(api, version)
            for kind in FOUNDATIONS:
                for stack in STACKS:
                    for manifest in manifests(stack):
                        if manifest["kind"] == kind:
                            judge.problem(manifest, keep=True)
            yield judge
        finally:
            control_plane.stop(layout)


def served(api, version):
    """Waits until the server has made room for a new type."""
    deadline = time.monotonic() + 30
    while not api.quietly("GET", f"/apis/{version}"):
        assert time.monotonic() < deadline, f"{version} is not served"
        time.sleep(0.1)


def pods_of(manifest):
    """The pods that its controller would make: the API server judges them only when they are made."""
    if manifest["kind"] == "LeaderWorkerSet":
        template = manifest["spec"]["leaderWorkerTemplate"]
        templates = [template[name] for name in ("leaderTemplate", "workerTemplate") if name in template]
    elif manifest["kind"] == "CronJob":
        templates = [manifest["spec"]["jobTemplate"]["spec"]["template"]]
    else:
        templates = [manifest["spec"]["template"]] if "template" in manifest.get("spec", {}) else []
    # What a set has as claims of its own, the controller makes and mounts.
    claims = [
        claim["metadata"]["name"] for claim in manifest.get("spec", {}).get("leaderWorkerTemplate", {}).get("volumeClaimTemplates", [])
    ]
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    for template in templates:
        spec = template["spec"] | {"volumes": [*template["spec"].get("volumes", []), *volumes]}
        metadata = {"name": "judged", "namespace": manifest["metadata"]["namespace"]} | template.get("metadata", {})
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("stack", STACKS)
def test_the_api_server_takes_every_object_and_every_pod_without_a_warning(judge, stack):
    sent = [one for manifest in manifests(stack) for one in (manifest, *pods_of(manifest))]
    found = {f"{one['kind']} {one['metadata']['name']}": problem for one in sent if (problem := judge.problem(one))}
    assert found == {}


def named(kind, name):
    return copy.deepcopy(next(one for one in manifests("prod") if (one["kind"], one["metadata"]["name"]) == (kind, name)))


BROKEN = {
    "a field that is misspelt": (lambda pod: pod.update(priorityclassName="x"), 'unknown field "spec.template.spec.priorityclassName"'),
    "a field of a container": (lambda pod: pod["containers"][0].update(imagePullpolicy="Always"), "imagePullpolicy"),
    "a value that there is not": (lambda pod: pod["containers"][0].update(imagePullPolicy="Sometimes"), "imagePullPolicy"),
    "a right that its namespace forbids": (lambda pod: pod.update(hostPID=True), "hostPID"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_seen(judge, mistake):
    change, expected = BROKEN[mistake]
    broken = named("Deployment", names.COORDINATOR)
    change(broken["spec"]["template"]["spec"])
    assert expected in judge.problem(broken)


FREE = ("metadata", "matchLabels", "nodeSelector", "selector", "limits", "requests", "capacity", "volumeAttributes", "data")
"""Where names are our own choice."""


def fields(value, path=""):
    """The path of each mapping in an object that has fields."""
    if isinstance(value, dict):
        yield path, value
        for key, child in value.items():
            if key not in FREE:
                yield from fields(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from fields(child, f"{path}[{index}]")


def kinds():
    """The object with the most fields of each kind that some stack has."""
    found = {}
    for stack in STACKS:
        for manifest in manifests(stack):
            kind = f"{manifest['apiVersion']} {manifest['kind']}"
            found[kind] = max(found.get(kind, manifest), manifest, key=lambda one: len(list(fields(one))))
    return found


def test_a_misspelt_field_is_seen_in_every_kind_and_at_every_depth(judge):
    """A definition may take any field somewhere (`x-kubernetes-preserve-unknown-fields`); there, nothing would judge."""
    unseen = {}
    assert set(CUSTOM) < {kind.split()[0] for kind in kinds()}
    for kind, largest in kinds().items():
        for path, _ in fields(largest):
            broken = copy.deepcopy(largest)
            dict(fields(broken))[path]["misspelt"] = "x"
            where = f"{path}.misspelt" if path else "misspelt"
            if f'unknown field "{where}"' not in (judge.problem(broken) or ""):
                unseen.setdefault(kind, []).append(where)
    assert unseen == {}
