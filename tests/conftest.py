"""Fixtures shared by all tests."""

import pytest


@pytest.fixture
def recorder():
    """A fresh recording mock engine for one test."""
    from tests.mocks import recording

    return recording()
