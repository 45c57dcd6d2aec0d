"""The weight storage as a volume of every shard."""

from infra.kubernetes import names


def test_weights_are_read_only_and_read_with_the_shards_identity(deployed):
    volume = deployed.inputs("kubernetes:core/v1:PersistentVolume", "zig-ai-weights")["spec"]
    assert volume["accessModes"] == ["ReadOnlyMany"]
    assert "-o ro" in volume["mountOptions"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    source = volume["csi"]
    assert source["driver"] == "blob.csi.azure.com"
    assert source["readOnly"] is True
    assert source["volumeHandle"] == "weightsaccount_weights"
    assert source["volumeAttributes"] == {
        "storageAccount": "weightsaccount",
        "containerName": "weights",
        "resourceGroup": "rg",
        "protocol": "fuse2",
        "clientID": "client of shard",
        "mountWithWorkloadIdentityToken": "true",
    }


def test_claim_and_volume_are_bound_to_each_other_and_to_no_class(deployed):
    """With a class, a provisioner would make an empty volume and the shards would load nothing."""
    volume = deployed.inputs("kubernetes:core/v1:PersistentVolume", "zig-ai-weights")["spec"]
    claim = deployed.inputs("kubernetes:core/v1:PersistentVolumeClaim", "zig-ai-weights")
    assert volume["storageClassName"] == claim["spec"]["storageClassName"] == ""
    assert claim["spec"]["volumeName"] == "zig-ai-weights"
    assert volume["claimRef"] == {"namespace": claim["metadata"]["namespace"], "name": claim["metadata"]["name"]}
    assert claim["metadata"]["namespace"] == names.SERVICE_NAMESPACE
    assert (volume["capacity"]["storage"], claim["spec"]["resources"]["requests"]["storage"]) == ("512Gi", "1Mi")
