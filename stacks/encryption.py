"""What Azure needs for `cluster.encryptionAtHost`: a feature of the subscription, and VM sizes that can do it."""

from __future__ import annotations

from collections.abc import Iterator

from settings import Problem, StackSettings
from stacks.arm import Arm

_KEY = "cluster.encryptionAtHost"
_FEATURE = "providers/Microsoft.Features/providers/Microsoft.Compute/features/EncryptionAtHost"
_FEATURES = {"api-version": "2021-07-01"}
OF_A_SIZE = "EncryptionAtHostSupported"
"""The capability of a VM size. Source: kubernetes-sigs/cluster-api-provider-azure azure/services/resourceskus/sku.go."""


def feature_problem(settings: StackSettings, arm: Arm) -> Iterator[Problem]:
    """Without the feature, Azure refuses the nodes when the network is made already (Azure/azure-cli issue 16788). Raises Unanswered."""
    if not settings.cluster.encryption_at_host:
        return
    state = ((arm.find(_FEATURE, _FEATURES) or {}).get("properties") or {}).get("state", "NotRegistered")
    if state != "Registered":
        yield Problem(
            key=_KEY,
            value="true",
            consequence=f"the subscription's feature Microsoft.Compute/EncryptionAtHost is {state}, so the nodes would be refused",
            fix="`az feature register --namespace Microsoft.Compute --name EncryptionAtHost`; once `az feature show` with the same "
            "options says Registered, `az provider register --namespace Microsoft.Compute`",
        )


def size_problem(key: str, size: str) -> Problem:
    """The problem of a VM size, named by the setting `key`, without that capability."""
    return Problem(
        key=_KEY,
        value="true",
        consequence=f"{size} ({key}) cannot encrypt at its host, so its nodes would be refused",
        fix=f"false, or a size for which `az vm list-skus --location` says {OF_A_SIZE} True",
    )
