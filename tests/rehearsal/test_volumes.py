"""Volumes as AKS's drivers make them and let them grow."""

import pytest

from rehearsal.cluster.volumes import Provisioner

BY = {"pv.kubernetes.io/provisioned-by": "disk.csi.azure.com"}


class Objects:
    """A cache of these objects, and the requests that were sent about them."""

    def __init__(self, *objects):
        self._objects = {item["metadata"]["name"]: item for item in objects}

    def all(self):
        return list(self._objects.values())

    def get(self, name):
        return self._objects.get(name)


class Api:
    def __init__(self):
        self.sent = []

    def quietly(self, method, path, body=None):
        self.sent.append((method, path, body))


def claim(asked, has):
    return {
        "metadata": {"name": "data", "namespace": "monitoring"},
        "spec": {"volumeName": "pvc-1", "resources": {"requests": {"storage": asked}}},
        "status": {"phase": "Bound", "capacity": {"storage": has}},
    }


def volume(size, annotations=BY):
    spec = {"capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Delete"}
    return {"metadata": {"name": "pvc-1", "annotations": annotations}, "spec": spec, "status": {"phase": "Bound"}}


@pytest.mark.parametrize(
    ("claimed", "there", "path"),
    [
        (claim("16Gi", "8Gi"), volume("8Gi"), "/api/v1/persistentvolumes/pvc-1"),
        (claim("16Gi", "8Gi"), volume("16Gi"), "/api/v1/namespaces/monitoring/persistentvolumeclaims/data/status"),
        (claim("16Gi", "16Gi"), volume("16Gi"), None),
        (claim("8Gi", "16Gi"), volume("16Gi"), None),
        (claim("16Gi", "8Gi"), volume("8Gi", annotations={}), None),
    ],
)
def test_a_claim_that_asks_for_more_gets_it(claimed, there, path):
    """First the volume, then the claim: AKS's classes are expandable (MicrosoftDocs/azure-aks-docs concepts-storage.md)."""
    api = Api()
    Provisioner(api, Objects(claimed), Objects(there), Objects()).step()
    assert [sent[:2] for sent in api.sent] == ([("PATCH", path)] if path else [])
