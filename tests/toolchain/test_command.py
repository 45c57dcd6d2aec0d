"""The command as a person meets it: short answers, no traceback, and a second run that costs nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.__main__ import main as rehearsal_main
from rehearsal.programs import REHEARSAL
from serve.substitutions import COORDINATOR_PROGRAM, SHARD_PROGRAM
from toolchain.cache import Cache
from toolchain.programs import folder_of
from toolchain.recipes import GROUPS, PROGRAMS
from toolchain.sources import programs_of
from toolchain.venv import ensure_venv

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "toolchain", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_bin_prints_the_folder_and_nothing_else(tmp_path):
    assert run("bin", ZIG_AI_CACHE=str(tmp_path)).stdout == f"{tmp_path}/bin\n"
    assert run("bin", ZIG_AI_CACHE="", XDG_CACHE_HOME=str(tmp_path)).stdout == f"{tmp_path}/zig-ai-aks/bin\n"
    assert run("bin", ZIG_AI_CACHE="", XDG_CACHE_HOME="", HOME=str(tmp_path)).stdout == f"{tmp_path}/.cache/zig-ai-aks/bin\n"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    """Root may write anywhere, so the place is one where nobody can: below a file."""
    (tmp_path / "file").touch()
    result = run("venv", ZIG_AI_CACHE=str(tmp_path / "file"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("toolchain: ")
    assert "ZIG_AI_CACHE selects another folder" in result.stderr


def test_a_second_run_does_nothing():
    """Without a PATH it can start neither Go nor uv nor anything else."""
    cache = Cache.of_user()
    assert all(folder_of(cache, recipe).exists() for recipe in PROGRAMS), "not everything is built yet: make toolchain"
    run()  # links may be of another checkout
    result = run(PATH="/nowhere", CXX=sys.executable)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("toolchain: ready: ")


def test_a_program_that_there_is_not_is_one_line():
    result = run("get", "actionlimt")
    assert result.returncode == 1
    assert result.stderr.startswith("toolchain: there is no program or group actionlimt; the groups are engine, cluster, serving, checks, ")


def test_what_needs_python_alone_waits_for_no_program(tmp_path):
    """The first `make check` of a newcomer took the 50 minutes of all programs. A dry run lists what a target would run."""
    needs = {}
    for target in ("check", "plan", "explain", "unit", "lint", "test", "rehearse", "serve"):
        done = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        needs[target] = sorted(set(re.findall(r"-m toolchain ?(.*)", done.stdout)))
    python = ["venv"]
    assert needs == {
        **dict.fromkeys(("check", "plan", "explain", "unit"), python),
        "lint": ["get actionlint", "venv"],
        "test": ["", "get actionlint", "venv"],
        "rehearse": ["get engine cluster", "venv"],
        "serve": ["get serving"],
    }


def test_a_rehearsal_shows_the_plan_before_it_builds_a_program():
    """The programs can take half an hour the first time. Until then a newcomer has seen nothing of the product."""
    done = subprocess.run(["make", "-n", "rehearse", "STACK=dev"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    steps = [line for line in done.stdout.splitlines() if " -m " in line]
    asked = [re.search(r"-m (.*)", step).group(1).strip() for step in steps]
    assert asked[:2] == ["toolchain venv", "planner plan --stack dev --summary"]
    assert asked[2].startswith("toolchain get ") and asked[-1].startswith("rehearsal run --stack dev")


@pytest.mark.parametrize("target", ["check", "plan", "explain"])
def test_what_needs_python_alone_runs_with_python_alone(target, tmp_path):
    """The target's own command, where PATH has the environment and nothing else."""
    dry = subprocess.run(["make", "-n", target, "STACK=dev"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    # A make that was started by make also names the folder that it enters.
    [command] = [line for line in dry.splitlines() if " -m " in line and "-m toolchain" not in line]
    command = command.replace("plan-dev.html", str(tmp_path / "plan.html"))
    environment = os.environ | {"PATH": str(REPOSITORY / ".venv" / "bin")}
    done = subprocess.run(
        [shutil.which("bash") or "", "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_rehearsals_and_the_service_start_programs_of_their_groups():
    """tests/rehearsal run with these programs alone on PATH; what is looked for at the start is the same list."""
    assert set(REHEARSAL) <= {name for group in ("engine", "cluster") for recipe in GROUPS[group] for name in programs_of(recipe)}
    assert SHARD_PROGRAM in {name for recipe in GROUPS["serving"] for name in programs_of(recipe)}
    assert (REPOSITORY / ".venv" / "bin" / COORDINATOR_PROGRAM).exists(), "it comes with the environment"


def test_a_missing_program_is_named_with_its_target(monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert rehearsal_main(["run", "--stack", "dev"]) != 0
    said = " ".join(capsys.readouterr().out.split())
    assert "pulumi, pulumi-language-python," in said
    assert "lws-controller are not on PATH: `make rehearse` installs them and puts them there" in said


def test_each_program_is_in_one_group():
    grouped = [recipe.name for recipes in GROUPS.values() for recipe in recipes]
    assert sorted(grouped) == sorted(recipe.name for recipe in PROGRAMS)


def test_a_venv_folder_of_the_user_s_own_is_not_replaced(tmp_path, monkeypatch):
    from toolchain import venv
    from toolchain.console import ToolchainError

    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements.lock").write_text("")
    monkeypatch.setattr(venv, "_make", lambda *_: None)
    with pytest.raises(ToolchainError, match="move it away"):
        ensure_venv(Cache(root=tmp_path / "cache"), repository=tmp_path)
    assert (tmp_path / ".venv").is_dir()


def test_an_environment_left_half_made_is_made_anew(tmp_path, monkeypatch):
    """Its folder exists under its final name (scripts carry the path), so only the stamp counts."""
    from toolchain import venv

    made = []

    def make(cache, folder, lock):
        made.append(folder)
        if len(made) == 2:
            (folder / "complete.json").write_text('{"size_bytes": 1}')

    monkeypatch.setattr(venv, "_make", make)
    (tmp_path / "requirements.lock").write_text("a==1\n")
    cache = Cache(root=tmp_path / "cache")
    folder = ensure_venv(cache, repository=tmp_path)
    folder.mkdir()
    ensure_venv(cache, repository=tmp_path)
    ensure_venv(cache, repository=tmp_path)
    assert made == [folder, folder]
    assert (tmp_path / ".venv").readlink() == folder
    (tmp_path / "requirements.lock").write_text("a==2\n")
    assert ensure_venv(cache, repository=tmp_path) != folder
