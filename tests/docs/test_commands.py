"""Every command in a page exists, with every option that the page gives it."""

import importlib
import importlib.util
import re

import pytest

from tests.docs.pages import PAGES, REPOSITORY, commands

MAKEFILE = (REPOSITORY / "Makefile").read_text()
RECIPES = dict(re.findall(r"(?m)^([a-z-]+):.*\n((?:\t.*\n)*)", MAKEFILE))
# They take their options from one parser, which can be asked.
ASKED = ("planner", "stacks", "serve", "rehearsal", "toolchain")
FOUND = [(page, command) for page in PAGES for command in commands(page)]


def named(kind):
    found = {" ".join(command): command for _, command in FOUND if command[0].endswith(kind)}
    return [pytest.param(command, id=line) for line, command in sorted(found.items())]


@pytest.mark.parametrize("command", named("make"))
def test_a_target_of_make_exists_and_reads_the_variables_that_it_is_given(command):
    targets = [word for word in command[1:] if "=" not in word]
    variables = [word.partition("=")[0] for word in command[1:] if "=" in word]
    assert [target for target in targets if target not in RECIPES] == []
    recipe = "".join(RECIPES[target] for target in targets)
    assert [name for name in variables if f"$({name})" not in recipe and name != "PYTHON"] == []


@pytest.mark.parametrize("command", named("python"))
def test_a_module_exists_and_knows_the_options_that_it_is_given(command, capsys):
    module, *arguments = command[2:]
    assert importlib.util.find_spec(module.split(".")[0]), module
    if module not in ASKED:
        assert module == "pytest" or any((REPOSITORY / module.replace(".", "/")).with_suffix(end).exists() for end in ("", ".py"))
        return
    words = [word.strip("[],.:;()'") for word in arguments]
    main = importlib.import_module(f"{module}.__main__").main
    subcommand = [word for word in words[:1] if word and not word.startswith("-")]
    with pytest.raises(SystemExit) as ended:
        main([*subcommand, "--help"])
    assert ended.value.code == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", printed)] == []


@pytest.mark.parametrize("command", named("uv"))
def test_a_script_exists_and_names_the_options_that_it_is_given(command):
    script, *arguments = command[3:]
    source = (REPOSITORY / script).read_text()
    options = [word for word in arguments if word.startswith("--")]
    assert [option for option in options if f'"{option}"' not in source] == []


def test_commands_are_found():
    """The search for them could break, and then every test above would pass."""
    assert len(FOUND) > 60 and {command[0] for _, command in FOUND} == {"make", "python", ".venv/bin/python", "uv"}
