"""Redis SKUs: the smallest that really holds the cache."""

import pytest

from planner.catalogue import redis_skus


def test_the_guides_128_gib_need_m150():
    """M100 is 120 GB by name; a fifth of it is kept back, so it holds 89 GiB and evicts what the guide means to keep."""
    assert redis_skus.smallest_sku(128) == "MemoryOptimized_M150"
    assert redis_skus.usable_gib("MemoryOptimized_M100") < 128 <= redis_skus.usable_gib("MemoryOptimized_M150")


@pytest.mark.parametrize(
    ("size_gib", "sku"),
    [
        (0.2, "Balanced_B0"),
        (2, "Balanced_B3"),
        (4, "Balanced_B5"),
        (8, "MemoryOptimized_M10"),
        (16, "MemoryOptimized_M20"),
        (800, "MemoryOptimized_M1500"),
    ],
)
def test_the_smallest_sku_that_holds_the_cache_is_chosen(size_gib, sku):
    assert redis_skus.smallest_sku(size_gib) == sku
    assert redis_skus.usable_gib(sku) >= size_gib


def test_a_cache_larger_than_every_sku_is_refused():
    with pytest.raises(ValueError, match="no Azure Managed Redis holds 5000 GiB: the largest has 1431 GiB"):
        redis_skus.smallest_sku(5000)


def test_every_sku_is_one_that_the_azure_api_names():
    from pulumi_azure_native.redisenterprise import SkuName

    assert set(redis_skus.NOMINAL_GB) <= {sku.value for sku in SkuName}
