"""The page's tables of errors: what stands there is what the fit has stored."""

import json

import pytest

from bench.performance import page, results

STORED = json.loads(results.REPORT.read_text())
HELD = json.loads(results.RANGES.read_text())


@pytest.mark.parametrize("table", [page.errors(STORED, HELD), page.ranges(HELD), page.points(STORED), page.worst_groups(STORED)])
def test_the_page_shows_the_stored_fit(table):
    assert table in results.PAGE.read_text()


def test_a_table_is_written_between_its_marks_and_the_rest_stays(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- errors -->\nold\n<!-- end -->\nbetween\n<!-- points -->\nkept\n<!-- end -->\nafter\n")
    page.write(file, {name: part for name, part in STORED.items() if name != "with_points"}, HELD)
    assert (
        file.read_text()
        == f"before\n<!-- errors -->\n{page.errors(STORED, HELD)}\n<!-- end -->\nbetween\n<!-- points -->\nkept\n<!-- end -->\nafter\n"
    )
