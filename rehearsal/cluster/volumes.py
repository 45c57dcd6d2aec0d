"""Does what AKS's CSI drivers do: creates a volume for a claim, in the zone of the node that the scheduler chose, and makes it larger."""

from __future__ import annotations

import json
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from rehearsal.cluster.api import Api, Cache, Object

DRIVERS = ("disk.csi.azure.com", "file.csi.azure.com", "blob.csi.azure.com")
_BY = "pv.kubernetes.io/provisioned-by"
_ZONE = "topology.disk.csi.azure.com/zone"


class Provisioner:
    """Creates volumes for waiting claims, grows those whose claim asks for more, and removes those whose claim is gone."""

    def __init__(self, api: Api, claims: Cache, volumes: Cache, nodes: Cache) -> None:
        self._api, self._claims, self._volumes, self._nodes = api, claims, volumes, nodes
        self._classes: dict[str, Object] = {}

    def step(self) -> None:
        """Does one pass."""
        for claim in self._claims.all():
            if claim["status"].get("phase") == "Pending" and not claim["spec"].get("volumeName"):
                self._provide(claim)
            elif claim["status"].get("phase") == "Bound":
                self._grow(claim)
        for volume in self._volumes.all():
            ours = volume["metadata"].get("annotations", {}).get(_BY) in DRIVERS
            released = volume["status"].get("phase") == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            if ours and released and "deletionTimestamp" not in volume["metadata"]:
                self._api.quietly("DELETE", f"/api/v1/persistentvolumes/{volume['metadata']['name']}")

    def _provide(self, claim: Object) -> None:
        annotations = claim["metadata"].get("annotations", {})
        driver = annotations.get("volume.kubernetes.io/storage-provisioner")
        if driver not in DRIVERS:
            return
        storage_class = self._class(claim["spec"]["storageClassName"])
        if storage_class is None:
            return
        node_name = annotations.get("volume.kubernetes.io/selected-node")
        if storage_class["volumeBindingMode"] == "WaitForFirstConsumer" and not node_name:
            return
        name = f"pvc-{claim['metadata']['uid']}"
        if self._volumes.get(name) is None:
            self._api.quietly("POST", "/api/v1/persistentvolumes", self._volume(name, claim, storage_class, node_name))

    def _grow(self, claim: Object) -> None:
        """The resizer's part, and the kubelet's: first the volume is larger, and then the claim says so."""
        asked, volume = claim["spec"]["resources"]["requests"]["storage"], self._volumes.get(claim["spec"].get("volumeName", ""))
        if volume is None or volume["metadata"].get("annotations", {}).get(_BY) not in DRIVERS:
            return
        capacity = {"capacity": {"storage": asked}}
        if parse_quantity(volume["spec"]["capacity"]["storage"]) < parse_quantity(asked):
            self._api.quietly("PATCH", f"/api/v1/persistentvolumes/{volume['metadata']['name']}", {"spec": capacity})
        elif parse_quantity(claim["status"].get("capacity", {}).get("storage", asked)) < parse_quantity(asked):
            where = f"/api/v1/namespaces/{claim['metadata']['namespace']}/persistentvolumeclaims/{claim['metadata']['name']}/status"
            self._api.quietly("PATCH", where, {"status": {**capacity, "conditions": None}})

    def _class(self, name: str) -> Object | None:
        if name not in self._classes:
            storage_class = self._api.quietly("GET", f"/apis/storage.k8s.io/v1/storageclasses/{name}")
            if storage_class is None:
                return None
            self._classes[name] = storage_class
        return self._classes[name]

    def _volume(self, name: str, claim: Object, storage_class: Object, node_name: str | None) -> Object:
        driver = storage_class["provisioner"]
        spec: dict[str, Any] = {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
            "mountOptions": storage_class.get("mountOptions"),
            "csi": {"driver": driver, "volumeHandle": name, "volumeAttributes": storage_class.get("parameters") or {}},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim["metadata"]["namespace"],
                "name": claim["metadata"]["name"],
                "uid": claim["metadata"]["uid"],
            },
        }
        node = self._nodes.get(node_name or "")
        zone = node["metadata"]["labels"].get(_ZONE) if node else None
        if driver == "disk.csi.azure.com" and zone and not storage_class.get("parameters", {}).get("skuname", "").endswith("_ZRS"):
            terms = [{"matchExpressions": [{"key": _ZONE, "operator": "In", "values": [zone]}]}]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {_BY: driver}},
            "spec": json.loads(json.dumps(spec)),
        }
