"""docs/models.md has each model of the catalogue with its present figures. The layouts are those of the day when it was written."""

import pytest

from planner.catalogue import model_shapes
from reports import models_page


def cells(row):
    return [cell.strip() for cell in row.strip("| \n").split(" | ")]


WRITTEN = {cells(row)[0].strip("`"): cells(row) for row in models_page.PATH.read_text().splitlines() if row.startswith("| `")}


def test_the_page_has_each_model_of_the_catalogue():
    assert list(WRITTEN) == list(model_shapes.models()), "python -m stacks models --write"


@pytest.mark.parametrize("name", model_shapes.models())
def test_the_figures_are_those_of_the_catalogue(name):
    now = [cell.strip() for cell in models_page._figures(model_shapes.models()[name])]
    assert WRITTEN[name][1 : 1 + len(now)] == now, "python -m stacks models --write"


def test_a_row_is_made_as_it_stands_there():
    """A model without a layout, so that no estimate is asked: kimi-k2."""
    [row] = models_page.table(["kimi-k2"])
    assert cells(row) == WRITTEN["kimi-k2"]
