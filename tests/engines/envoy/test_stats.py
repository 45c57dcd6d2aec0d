"""The bounds between which the proxy counts times."""

import itertools

import pytest

from engines.envoy.stats import bounds_ms


@pytest.mark.parametrize("target_ms", [1, 30, 500, 750, 1000, 1250, 2000, 2750, 10_000, 3_600_000])
def test_bounds_are_dense_around_the_target_and_reach_from_a_millisecond_to_hours(target_ms):
    bounds = bounds_ms(target_ms / 1000)
    assert bounds == sorted(set(bounds)) and bounds[0] == 1 and bounds[-1] > 3_600_000
    edges = [bound + 1 for bound in bounds]
    near = [edge for edge in edges if target_ms / 2.2 <= edge <= 2.2 * target_ms]
    assert all(above <= max(1.1 * below, below + 1) for below, above in itertools.pairwise(near))
    if len(str(target_ms).rstrip("0")) <= 2 and target_ms > 1:
        assert target_ms in edges
    assert all(len(str(edge).rstrip("0")) <= 2 for edge in edges), "Envoy tells two digits apart"
