"""A stand-in for Go: an executable that answers as `go` does, counts its builds and can be slow or fail."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from toolchain.cache import Cache
from toolchain.recipes import Copy, Output, Recipe

FAKE_GO = """#!{python}
import json, os, shutil, sys, time
arguments, home = sys.argv[1:], {home!r}
if arguments[0] == "version":
    print("go version go" + open(home + "/version").read() + " linux/amd64")
elif arguments[:2] == ["mod", "download"]:
    print(json.dumps({{"Dir": home + "/module"}}))
elif arguments[:2] == ["mod", "edit"]:
    for argument in arguments[2:]:
        name, module, folder = argument.split("=")
        assert name == "-replace", argument
        shutil.copytree(folder, home + "/replaced/" + module)
elif arguments[0] == "build":
    with open(home + "/builds", "a") as builds:
        builds.write(arguments[-1] + " " + str(os.getpid()) + "\\n")
    print("compiling " + arguments[-1], flush=True)
    time.sleep(float(os.environ.get("FAKE_GO_SECONDS", "0")))
    while not os.path.exists(os.environ.get("FAKE_GO_UNTIL", home)):
        time.sleep(0.01)
    if os.environ.get("FAKE_GO_FAILS"):
        sys.exit(os.environ["FAKE_GO_FAILS"])
    target = arguments[arguments.index("-o") + 1]
    open(target, "w").write("program\\n")
"""


@dataclass(frozen=True)
class FakeGo:
    home: Path

    @property
    def program(self) -> Path:
        return self.home / "bin" / "go"

    def builds(self) -> list[str]:
        """Packages built so far, in order."""
        return [line.split()[0] for line in self._lines()]

    def last_process(self) -> int:
        return int(self._lines()[-1].split()[1])

    def _lines(self) -> list[str]:
        file = self.home / "builds"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def fake_go(tmp_path) -> FakeGo:
    go = FakeGo(tmp_path / "fake-go")
    go.program.parent.mkdir(parents=True)
    executable(go.program, FAKE_GO.format(python=sys.executable, home=str(go.home)))
    (go.home / "version").write_text("1.27.0")
    (go.home / "module" / "crd").mkdir(parents=True)
    (go.home / "module" / "crd" / "a.yaml").write_text("kind: CustomResourceDefinition\n")
    return go


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(root=tmp_path / "cache")


@pytest.fixture
def recipe() -> Recipe:
    return RECIPE


@pytest.fixture
def pins(tmp_path) -> Path:
    folder = tmp_path / "pins" / RECIPE.name
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module test\n")
    (folder / "go.sum").write_text("h1:abc\n")
    return folder.parent


RECIPE = Recipe(
    name="thing",
    module="example.org/thing",
    version="v1.2.3",
    outputs=(
        Output(name="first", package="example.org/thing/first", cpu_seconds=1),
        Output(name="second", package="example.org/thing/second", cpu_seconds=1),
    ),
    copies=(Copy(module="example.org/thing", source="crd", target="share/thing/crd"),),
)


def executable(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.chmod(file, 0o755)
    return file
