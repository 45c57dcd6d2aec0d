"""Kubernetes quantities in the form in which the API server writes them back."""

from __future__ import annotations

from typing import Any

from settings.quantities import Cpu, KubernetesSize

_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi")
_DECIMAL = ("m", "", "k", "M", "G", "T", "P")


def canonical(quantity: str) -> str:
    """The same amount as Kubernetes itself prints it: `2048Mi` is `2Gi`, `0.5` is `500m`.

    The largest suffix of the written kind, binary or decimal, that leaves a whole number.
    https://github.com/kubernetes/apimachinery/blob/v0.36.3/pkg/api/resource/quantity.go, CanonicalizeBytes.
    """
    if quantity.endswith("i"):
        amount, step, suffixes = KubernetesSize(quantity).amount, 1024, ("", *_BINARY)
    else:
        unit = Cpu if quantity[-1] in "m0123456789" else KubernetesSize
        amount, step, suffixes = unit(quantity).amount * 1000, 1000, _DECIMAL
    if not amount:
        return "0"
    position = 0
    while position + 1 < len(suffixes) and amount % step == 0:
        amount, position = amount / step, position + 1
    return f"{int(amount)}{suffixes[position]}"


def with_canonical_quantities(manifest: Any) -> Any:
    """A manifest whose resource lists and volume sizes are canonical.

    For custom resources: the provider knows the built-in types' quantities and compares amounts, but a custom resource's field is
    plain text to it, so another spelling would be a change for ever after.
    """
    if isinstance(manifest, list):
        return [with_canonical_quantities(item) for item in manifest]
    if not isinstance(manifest, dict):
        return manifest
    return {
        key: {name: canonical(str(amount)) for name, amount in value.items()}
        if key in ("requests", "limits")
        else canonical(value)
        if key == "sizeLimit"
        else with_canonical_quantities(value)
        for key, value in manifest.items()
    }
