"""The images of all kinds of stacks: what runs tomorrow is what ran today."""

import re

import pytest

from tests.infra.registered import STACKS, manifests

THEIRS = "ours/"
"""In the variations: images of a user."""
FIXED = re.compile(r"@sha256:[0-9a-f]{64}$|:[^:]*\d+\.\d+\.\d+[^:]*$|:[^:]*-b\d+$")
"""A digest, a version with its patch level, or the number of a build; a tag such as 13-slim is pushed anew for each update."""


def images(part):
    """Every image in an object, wherever it is."""
    if isinstance(part, dict):
        found = {part["image"]} if isinstance(part.get("image"), str) else set()
        return found.union(*map(images, part.values()))
    return set().union(*map(images, part)) if isinstance(part, list) else set()


@pytest.mark.parametrize("stack", STACKS)
def test_no_default_image_has_a_tag_that_moves(stack):
    """One of them is root on every GPU node; and two pods must not run different code under one name."""
    found = {image for image in images(manifests(stack)) if THEIRS not in image}
    assert found and {image for image in found if not FIXED.search(image)} == set()
