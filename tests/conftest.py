"""Fixtures shared by all tests, and what must be the same wherever they run."""

import signal

import hypothesis
import pytest

# A busy machine is no reason to fail.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
# Started in the background of a script, this process ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def recorder():
    """A fresh recording mock engine for one test."""
    from tests.mocks import recording

    return recording()


def pytest_collection_modifyitems(items):
    """The engine's tests take minutes and mostly wait: started first, they run beside all others."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)
