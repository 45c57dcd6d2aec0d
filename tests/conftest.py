"""Fixtures shared by all tests."""

import pytest


@pytest.fixture
def recorder():
    """A fresh recording mock engine for one test."""
    from tests.mocks import recording

    return recording()


def pytest_collection_modifyitems(items):
    """The engine's tests take minutes and mostly wait: started first, they run beside all others."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)
