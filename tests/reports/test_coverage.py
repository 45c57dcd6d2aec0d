"""docs/guide-coverage.md is what `python -m stacks coverage --write` makes, with a row for each leaf of the guide."""

import re

from reports import coverage
from settings.error_messages import key_text
from tests.settings.guide_blocks import BLOCKS, content, leaves


def test_the_page_is_not_stale():
    assert coverage.stale() is None, "run: python -m stacks coverage --write"


def test_a_changed_page_is_stale(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(coverage.PATH.read_text().replace("| adjusted |", "| in force |", 1))
    assert coverage.stale(page) == coverage.PATH.read_text()


def test_what_is_written_by_hand_stays():
    by_hand = coverage.PATH.read_text().partition(coverage.BY_HAND)[2]
    assert "promtool query instant http://localhost:9090" in by_hand


def test_each_leaf_of_the_guide_has_a_row():
    rows = set()
    section = ""
    for line in coverage.PATH.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif found := re.match(r"\| `([^`]+)` \|", line):
            rows.add(f"{section}.{found[1]}")
    guide = {_key(path) for block in BLOCKS for path in leaves(content(block))}
    assert guide - rows == set()


def _key(path):
    """A named item's one value is the item's row; a list of plain values is one row."""
    if path[:2] in (("shard", "env"), ("monitoring", "metrics")):
        path = path[:3]
    elif path[:2] == ("sharding", "affinityRules") and path[3] == "values":
        path = path[:4]
    return key_text(path)
