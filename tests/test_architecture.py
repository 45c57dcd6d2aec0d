"""The layers of the house point one way; a test reads the imports and fails on any other."""

import ast
from pathlib import Path

import pytest

from planner.engine_facts import NAMES, traits

ROOT = Path(__file__).parent.parent
ROOMS = (
    "settings",
    "planner/catalogue",
    "planner/engine_facts",
    "planner/performance",
    "planner/fit",
    "planner/rules",
    "planner/recommend",
    "planner",
    "engines",
    "infra",
    "reports",
    "stacks",
)
"""The rooms from the lowest to the highest: a room may import those before it."""
ASIDE = {
    "serve": {"settings", "planner", "engines", "infra", "toolchain", "rehearsal"},
    "rehearsal": set(),
    "toolchain": set(),
}
"""Rooms beside the house, and what they may import."""
WITHOUT_PULUMI = ("settings", "planner", "engines", "toolchain", "serve")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, inside functions and for type hints too, in dotted form: `planner.fit.plan`, `planner.fit.plan.Plan`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(name: str) -> str:
    """The innermost room that a path or a dotted name lies in; the first part of any other name."""
    path = name.replace(".", "/")
    found = [room for room in (*ROOMS, *ASIDE) if f"{path}/".startswith(f"{room}/")]
    return max(found, key=len, default=path.split("/")[0])


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", [*ROOMS, *ASIDE])
def test_rooms_import_what_is_below_them(folder):
    ours = {*ROOMS, *ASIDE, "tests", "bench"}
    allowed = ASIDE[folder] if folder in ASIDE else set(ROOMS[: ROOMS.index(folder)])
    for path in files(folder):
        where = str(path.relative_to(ROOT))
        # A command stands on top of the house, whatever folder it is typed by.
        if room_of(where) == folder and path.name != "__main__.py":
            wrong = {
                name for name in imports(path) if room_of(name) in ours - {folder} and not {room_of(name), name.split(".")[0]} & allowed
            }
            assert not wrong, f"{where} imports {sorted(wrong)}: {folder}/ may import {sorted(allowed) or 'nothing of ours'}"


def test_no_module_imports_itself_by_way_of_others():
    """Type hints count: who follows the arrows by eye meets them too."""
    modules = {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
        for folder in (*ROOMS, *ASIDE)
        for path in files(folder)
    }
    asked = {
        name: {used if used in modules else used.rpartition(".")[0] for used in imports(path)} & modules.keys() - {name}
        for name, path in modules.items()
    }
    while free := {name for name, needed in asked.items() if not needed & asked.keys()}:
        asked = {name: needed for name, needed in asked.items() if name not in free}
    assert not asked, f"these import each other: {sorted(asked)}"


def test_the_planner_has_rooms_and_no_loose_modules():
    assert {path.name for path in (ROOT / "planner").glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("folder", WITHOUT_PULUMI)
def test_what_decides_does_not_need_the_engine(folder):
    for path in files(folder):
        pulumi = {name for name in imports(path) if name.startswith("pulumi")}
        assert not pulumi, f"{path.relative_to(ROOT)} imports {sorted(pulumi)}"


MAY_NAME_ENGINES = ("planner/engine_facts", "planner/performance")
"""The facts of each, and the measurements of each."""


def engines_asked_for(path: Path) -> list[int]:
    """Lines that compare something with an engine's name, or with whose measurements stand for one."""
    names = set(NAMES) | {traits(name).performs_like for name in NAMES}
    asking = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare | ast.MatchValue)]
    return [node.lineno for node in asking if names & {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}]


@pytest.mark.parametrize("folder", ["settings", "planner", "infra", "reports", "stacks", "serve", "rehearsal"])
def test_nobody_but_the_engines_asks_which_engine_it_is(folder):
    """Differences between engines are traits, or are in what they render."""
    for path in files(folder):
        where = path.relative_to(ROOT)
        if not str(where).startswith(MAY_NAME_ENGINES):
            assert engines_asked_for(path) == [], where


def test_each_engine_is_a_name_in_settings_a_file_of_facts_and_a_folder():
    facts = {path.stem for path in (ROOT / "planner/engine_facts").glob("*.py")} - {"__init__", "traits"}
    folders = {path.parent.name for path in (ROOT / "engines").glob("*/engine.py")}
    assert facts == folders == set(NAMES), "the names are those of `engine` in settings/stack.py"


def test_main_stays_short():
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 40
