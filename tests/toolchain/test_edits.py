"""A changed source is built from a copy, and a source that is not as expected stops the build before anything is compiled."""

import re
from dataclasses import replace

import pytest

from toolchain.console import ToolchainError
from toolchain.edits import Edit, edit_modules
from toolchain.golang import Go
from toolchain.programs import PINS, ensure_program, folder_of
from toolchain.progress import Progress
from toolchain.recipes import RECIPES

EDIT = Edit(module="example.org/thing", file="crd/a.yaml", pattern="^kind: Custom", by="kind: ")


@pytest.fixture
def build(cache, recipe, fake_go, pins):
    def run(*edits):
        edited = replace(recipe, edits=edits)
        return ensure_program(cache, edited, lambda: Go(program=str(fake_go.program), cache=cache), Progress.of([edited]), pins)

    return run


@pytest.mark.process
def test_go_compiles_the_changed_copy_and_nothing_of_it_is_left(build, fake_go):
    (fake_go.home / "module" / "a_test.go").touch()
    folder = build(EDIT)
    assert (fake_go.home / "replaced" / EDIT.module / EDIT.file).read_text() == "kind: ResourceDefinition\n"
    assert not (fake_go.home / "replaced" / EDIT.module / "a_test.go").exists(), "the tests of a module are copied too"
    assert (fake_go.home / "module" / EDIT.file).read_text() == "kind: CustomResourceDefinition\n", "the download itself was changed"
    assert sorted(entry.name for entry in folder.iterdir()) == ["bin", "made.json", "share"]


@pytest.mark.process
@pytest.mark.parametrize(
    "edit",
    [replace(EDIT, pattern="^kind: Own"), replace(EDIT, times=2), replace(EDIT, file="crd/gone.yaml")],
    ids=["text", "times", "file"],
)
def test_another_source_than_expected_stops_before_anything_is_compiled(build, fake_go, cache, edit):
    with pytest.raises(ToolchainError) as problem:
        build(edit)
    for part in (edit.file, edit.module, edit.pattern, f"and not {edit.times}", "toolchain/edits.py"):
        assert part in str(problem.value)
    assert fake_go.builds() == []
    assert list(cache.programs.iterdir()) == []


def test_edits_of_one_module_are_made_in_one_copy(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.go").write_text("package a\n\nvar one, two = 1, 2\n")
    first = Edit(module="m", file="a.go", pattern="one", by="three")
    assert edit_modules((first, replace(first, pattern="two", by="four")), lambda _: source, tmp_path) == {"m": tmp_path / "m"}
    assert (tmp_path / "m" / "a.go").read_text() == "package a\n\nvar three, four = 1, 2\n"


@pytest.mark.process
def test_other_edits_are_built_anew(cache, recipe, pins):
    names = [folder_of(cache, replace(recipe, edits=edits), pins).name for edits in ((), (EDIT,), (replace(EDIT, by="a"),))]
    assert len(set(names)) == 3


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe.edits], ids=lambda recipe: recipe.name)
def test_every_edited_module_has_a_pinned_version(recipe):
    sums = (PINS / recipe.pins / "go.sum").read_text()
    for edit in recipe.edits:
        assert re.search(rf"^{re.escape(edit.module)} v\S+ h1:", sums, re.MULTILINE), edit.module
