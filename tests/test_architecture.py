"""The layers of the house point one way; a test reads the imports and fails on any other."""

import ast
from pathlib import Path

import pytest

from planner.engine_traits import NAMES, traits

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "settings": set(),
    "planner": {"settings"},
    "engines": {"settings", "planner"},
    "infra": {"settings", "planner", "engines"},
    "stacks": {"settings", "planner", "engines", "infra"},
    "local": {"settings", "planner", "engines", "infra", "toolchain", "rehearsal"},
    "rehearsal": set(),
    "toolchain": set(),
}
WITHOUT_PULUMI = {"settings", "planner", "engines", "toolchain", "local"}


def imports(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_layers_point_one_way(folder):
    ours = set(MAY_IMPORT) | {"tests", "bench", "policy"}
    for path in sorted((ROOT / folder).rglob("*.py")):
        wrong = (imports(path) & ours) - MAY_IMPORT[folder] - {folder}
        assert not wrong, (
            f"{path.relative_to(ROOT)} imports {sorted(wrong)}: {folder}/ may import {sorted(MAY_IMPORT[folder]) or 'nothing of ours'}"
        )


@pytest.mark.parametrize("folder", sorted(WITHOUT_PULUMI))
def test_what_decides_does_not_need_the_engine(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        pulumi = {name for name in imports(path) if name.startswith("pulumi")}
        assert not pulumi, f"{path.relative_to(ROOT)} imports {sorted(pulumi)}"


MAY_NAME_ENGINES = ("planner/engine_traits", "planner/performance")
"""The facts of each, and the measurements of each."""


def engines_asked_for(path: Path) -> list[int]:
    """Lines that compare something with an engine's name, or with whose measurements stand for one."""
    names = set(NAMES) | {traits(name).performs_like for name in NAMES}
    asking = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare | ast.MatchValue)]
    return [node.lineno for node in asking if names & {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}]


@pytest.mark.parametrize("folder", ["settings", "planner", "infra", "stacks", "local", "rehearsal"])
def test_nobody_but_the_engines_asks_which_engine_it_is(folder):
    """What differs between them is a trait, or in what they render."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        where = path.relative_to(ROOT)
        if not str(where).startswith(MAY_NAME_ENGINES):
            assert engines_asked_for(path) == [], where


def test_main_stays_short():
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 40
