"""Fixtures shared by all tests, and what must be the same wherever they run."""

import gc
import signal

import hypothesis
import pytest

from tests import unit_guard

# A busy machine is no reason to fail.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
# Started in the background of a script, this process ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Each stack that a test deploys under the mocks makes a hundred thousand objects, which Python by default looks through every 700.
gc.set_threshold(200_000, 10, 10)


@pytest.fixture
def recorder():
    """A fresh recording mock engine for one test."""
    from tests.mocks import recording

    return recording()


def pytest_collection_modifyitems(items):
    """Tests that start processes take longest and mostly wait: started first, they run beside all others."""
    items.sort(key=lambda item: item.get_closest_marker("process") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Guards a test from the set-up of its fixtures to their end."""
    unit_guard.watch(None if item.get_closest_marker("process") else item.nodeid)
    try:
        return (yield)
    finally:
        unit_guard.watch(None)
