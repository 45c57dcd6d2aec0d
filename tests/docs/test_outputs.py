"""The outputs and figures in the pages are what the commands print and what the measurements say."""

import json
import re

import pytest
import yaml

import planner.__main__ as planner
import stacks.__main__ as stacks
from planner.recommend.assessment import assess
from reports import yaml_switch
from tests.docs.pages import PAGES, REPOSITORY, outputs, text
from tests.planner.stacks import stack
from tests.shipped import TODAY

# Commands that give the same answer on each machine, by their first words, and what runs them.
ANSWERS = {
    ("make", "plan"): lambda words: planner.main(["plan", "--stack", value(words, "STACK")]),
    ("make", "explain"): lambda words: stacks.main(["explain", value(words, "KEY"), "--stack", value(words, "STACK")]),
    (".venv/bin/python", "-m"): lambda words: planner.main(words[3:]),
}
SHOWN = [
    (page, command, lines)
    for page in PAGES
    for command, lines in outputs(page)
    if tuple(command[:2]) in ANSWERS and (command[0] == "make" or command[2] == "planner")
]


def value(words, name):
    return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


@pytest.mark.parametrize(("page", "command", "lines"), SHOWN, ids=[f"{page} {' '.join(command)}" for page, command, _ in SHOWN])
def test_a_page_shows_what_the_command_prints(page, command, lines, capsys):
    """Lines may be left out for a line of three dots, and a line may end in them."""
    ANSWERS[tuple(command[:2])](command)
    printed = iter(line.rstrip() for line in capsys.readouterr().out.splitlines())
    for line in lines:
        if line.strip() == "...":
            continue
        start = line.removesuffix(" ...")
        assert any(actual.startswith(start) if start != line else actual == line.rstrip() for actual in printed), line


def test_the_readme_has_the_prices_of_the_stacks_to_run_today():
    found = [assess(stack(name)) for name in TODAY]
    chosen = [next(one for one in each.result.choices if not yaml_switch.changes(each.asked, one)) for each in found]
    prices = [[f"{one.usd_per_hour:.2f}", f"{one.predict().usd_per_million_tokens(one.usd_per_hour):.2f}"] for one in chosen]
    part = text("README.md").partition("## To run it today")[2].partition("\n## ")[0]
    hours = re.findall(r"(\d+\.\d\d) USD an hour", part)
    assert [list(both) for both in zip(hours, re.findall(r"tokens cost (\d+\.\d\d) USD", part), strict=True)] == prices


def test_outputs_are_found():
    assert {command[1] if command[0] == "make" else command[3] for _, command, _ in SHOWN} == {"plan", "explain", "recommend", "estimate"}
    assert {page for page, _, _ in SHOWN} == {"README.md", "docs/plan.md", "docs/weights.md"}


@pytest.mark.parametrize("page", ["README.md", "docs/rehearsal.md"])
def test_a_page_shows_as_many_resources_as_prod_has(page):
    """The golden graph leaves out the stack itself, which a preview counts. What a chart brings is counted from the first `up` on."""
    graph = (REPOSITORY / "tests/stacks/golden/prod.txt").read_text()
    assert re.findall(r"preview .* ok  (\d+) to create", text(page)) == [str(len(re.findall(r"(?m)^\S", graph)) + 1)]
    stages = re.findall(r"ok  ((?:\d+ (?:created|unchanged|updated|deleted)(?:, )?)+)", text(page))
    assert len({sum(map(int, re.findall(r"\d+", stage))) for stage in stages}) == 1


RESULTS = [
    row for file in REPOSITORY.glob("bench/results/gpu_*.json") for row in json.loads(file.read_text())["rows"] if "requests_s" in row
]
ROWS = [
    (page, cells)
    for page in ("README.md", "docs/measurements.md")
    for line in re.findall(r"(?m)^\| .*(?:vLLM|llama|guide|best|fastest).*\|$", text(page))
    if re.fullmatch(r"[\d.,]+", (cells := [cell.strip() for cell in line.strip("|").split("|")])[1])
]


@pytest.mark.parametrize(("page", "cells"), ROWS, ids=[f"{page} {cells[0]}" for page, cells in ROWS])
def test_a_row_of_figures_is_a_row_of_the_measurements(page, cells):
    """Only the untuned servers have their latency by hand: a hundred users wait a hundred times as long as one."""
    names = ["requests_s", "latency_p95_s", *(["memory_mib", "joules_per_token"] if len(cells) == 6 else []), "usd_per_million_tokens"]
    figures = {name: cell for name, cell in zip(names, cells[1:], strict=True) if not cell.startswith("about")}
    assert [row for row in RESULTS if all(reads(row[name], cell) for name, cell in figures.items())] != []


def reads(measured: float, cell: str) -> bool:
    """Says whether a cell is the measured figure, rounded to the places that the cell has."""
    figure = cell.split()[0].replace(",", "")
    half = 0.5 * 10 ** -len(figure.partition(".")[2])
    return abs(measured - float(figure)) <= half * 1.01


def test_rows_of_figures_are_found():
    assert len(ROWS) == 17


ENGINES = [
    (engine.strip("`"), size.split()[0], cell)
    for table in re.findall(r"(?m)^\| engine \| (Standard_.*) \|\n\|[-|]+\|\n((?:\|.*\n)+)", text("docs/engines.md"))
    for engine, *cells in (line.strip("| ").split(" | ") for line in table[1].splitlines())
    for size, cell in zip(table[0].split(" | "), cells, strict=True)
]


@pytest.mark.parametrize(("engine", "size", "cell"), ENGINES, ids=[f"{engine} {size}" for engine, size, _ in ENGINES])
def test_the_page_on_engines_shows_prod_s_plan_with_each(engine, size, cell, tmp_path, capsys):
    content = yaml.safe_load((REPOSITORY / "Pulumi.prod.yaml").read_text())
    content["config"]["zig-ai-aks:engine"] = engine
    content["config"].setdefault("zig-ai-aks:gpuPool", {})["vmSize"] = size
    content["config"].get("zig-ai-aks:shard", {}).pop("nodeSelector", None)
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(yaml.safe_dump(content))
    planner.main(["plan", "--file", str(file)])
    printed = "".join(capsys.readouterr())
    figures = re.findall(r"\d+\.\d+ s \([\d.]+ to [\d.]+\)|\d+\.\d+(?: s| GiB too few)?", cell)
    assert [figure for figure in figures if figure not in printed] == []


def test_the_engines_are_found():
    assert len(ENGINES) == 6
