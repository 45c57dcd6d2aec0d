"""A quantity that the API server would spell otherwise is a change at every later update."""

import pytest

from infra.kubernetes.quantities import canonical, with_canonical_quantities


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("2048Mi", "2Gi"),
        ("64Gi", "64Gi"),
        ("1.5Gi", "1536Mi"),
        ("1536Mi", "1536Mi"),
        ("16", "16"),
        ("0.5", "500m"),
        ("500m", "500m"),
        ("2000m", "2"),
        ("2500m", "2500m"),
        ("64000M", "64G"),
        ("1000", "1k"),
        ("0", "0"),
    ],
)
def test_quantity_is_spelt_as_kubernetes_prints_it(written, printed):
    assert canonical(written) == printed


def test_resource_lists_and_volume_sizes_are_found_wherever_they_are():
    spec = {"containers": [{"resources": {"limits": {"cpu": "0.5"}}}], "volumes": [{"emptyDir": {"sizeLimit": "2048Mi"}}], "size": 8}
    assert with_canonical_quantities(spec) == {
        "containers": [{"resources": {"limits": {"cpu": "500m"}}}],
        "volumes": [{"emptyDir": {"sizeLimit": "2Gi"}}],
        "size": 8,
    }
