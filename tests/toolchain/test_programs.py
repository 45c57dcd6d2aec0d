"""A program is built once per content of its pins, survives being stopped, and is never seen half made."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.console import OfflineError, ToolchainError
from toolchain.golang import Go
from toolchain.programs import embed_kubernetes_schema, ensure_program, folder_of, link, prune
from toolchain.progress import Progress

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]

RUN = """
import sys
from pathlib import Path
from tests.toolchain.conftest import RECIPE
from toolchain.cache import Cache
from toolchain.golang import Go
from toolchain.programs import ensure_program
from toolchain.progress import Progress
cache = Cache(root=Path(sys.argv[1]))
ensure_program(cache, RECIPE, lambda: Go(program=sys.argv[2], cache=cache), Progress.of([RECIPE]), Path(sys.argv[3]))
"""


@pytest.fixture
def ensure(cache, recipe, fake_go, pins):
    def run(recipe=recipe):
        go = Go(program=str(fake_go.program), cache=cache)
        return ensure_program(cache, recipe, lambda: go, Progress.of([recipe]), pins)

    return run


@pytest.fixture
def another_run(cache, fake_go, pins):
    """Start the same work in another process."""
    started = []

    def start(seconds: float) -> subprocess.Popen:
        environment = os.environ | {"FAKE_GO_SECONDS": str(seconds)}
        command = [sys.executable, "-c", RUN, str(cache.root), str(fake_go.program), str(pins)]
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_second_run_builds_nothing(ensure, fake_go):
    folder = ensure()
    assert sorted(file.name for file in (folder / "bin").iterdir()) == ["first", "second"]
    assert (folder / "share" / "thing" / "crd" / "a.yaml").read_text() == "kind: CustomResourceDefinition\n"
    assert ensure() == folder
    assert fake_go.builds() == ["example.org/thing/first", "example.org/thing/second"]


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_other_pins_are_built_anew(ensure, fake_go, pins, file):
    old = ensure()
    (pins / "thing" / file).write_text("changed\n")
    assert ensure() != old
    assert len(fake_go.builds()) == 4


def test_other_link_flags_are_built_anew(cache, recipe, pins):
    assert folder_of(cache, replace(recipe, ldflags="-X a=b"), pins) != folder_of(cache, recipe, pins)


def test_a_better_estimate_is_no_reason_to_build(cache, recipe, pins):
    guessed = replace(recipe, outputs=tuple(replace(output, cpu_seconds=99) for output in recipe.outputs))
    assert folder_of(cache, guessed, pins) == folder_of(cache, recipe, pins)


def test_a_newer_go_is_no_reason_to_build(ensure, fake_go):
    ensure()
    (fake_go.home / "version").write_text("1.30.0")
    ensure()
    assert len(fake_go.builds()) == 2


def test_a_killed_run_leaves_nothing_that_looks_whole_and_the_next_one_finishes(ensure, another_run, cache, recipe, pins, fake_go):
    run = another_run(30)
    until(lambda: fake_go.builds())
    run.kill()
    run.wait()
    os.kill(fake_go.last_process(), signal.SIGKILL)
    assert not folder_of(cache, recipe, pins).exists()
    folder = ensure()
    assert (folder / "bin" / "second").exists()
    assert [file.name for file in cache.programs.iterdir()] == [folder.name], "the stopped run's half-made folder is still there"


def test_interrupting_a_run_stops_its_compiler_too(another_run, fake_go):
    run = another_run(30)
    until(lambda: fake_go.builds())
    run.send_signal(signal.SIGINT)
    run.wait(timeout=10)
    assert not alive(fake_go.last_process())


def test_two_runs_at_once_build_once(ensure, another_run, fake_go, cache, tmp_path, monkeypatch):
    """The first goes on once the second has said that it waits."""
    monkeypatch.setenv("FAKE_GO_UNTIL", str(tmp_path / "go on"))
    one = another_run(0)
    until(lambda: fake_go.builds())
    two = another_run(0)
    assert "waiting for another run that is installing thing" in two.stderr.readline()
    (tmp_path / "go on").touch()
    assert one.wait(timeout=60) == 0
    assert two.wait(timeout=60) == 0
    assert len(fake_go.builds()) == 2


def test_a_failing_build_shows_the_end_of_its_log(ensure, cache, recipe, pins, monkeypatch):
    monkeypatch.setenv("FAKE_GO_FAILS", "undefined: something")
    with pytest.raises(ToolchainError) as problem:
        ensure()
    text = str(problem.value)
    assert text.startswith("building first v1.2.3 failed; the log is ")
    assert str(cache.logs / "first.log") in text
    assert text.endswith("compiling example.org/thing/first\nundefined: something")
    assert list(cache.programs.iterdir()) == [], "a half-made folder is left"


def test_an_unreachable_proxy_is_named_without_its_password(ensure, monkeypatch):
    monkeypatch.setenv("GOPROXY", "https://user:hunter2@proxy.example.org")
    monkeypatch.setenv("FAKE_GO_FAILS", "go: example.org/thing: dial tcp: lookup proxy.example.org: no such host")
    with pytest.raises(OfflineError) as problem:
        ensure()
    assert str(problem.value) == "building first v1.2.3 failed, because a registry cannot be reached"


def test_the_flat_folders_show_exactly_what_is_wanted(ensure, cache, tmp_path):
    folder = ensure()
    official = tmp_path / "pulumi"
    official.touch()
    cache.bin.mkdir()
    (cache.bin / "left-over").symlink_to("nowhere")
    link(cache, [folder], {"pulumi": official})
    assert sorted(entry.name for entry in cache.bin.iterdir()) == ["first", "pulumi", "second"]
    assert (cache.bin / "first").resolve() == (folder / "bin" / "first").resolve()
    assert (cache.bin / "pulumi").resolve() == official.resolve()
    assert (cache.share / "thing" / "crd" / "a.yaml").is_file()


def test_a_program_may_come_beside_those_that_are_there(ensure, cache):
    cache.bin.mkdir(parents=True)
    (cache.bin / "another").symlink_to("elsewhere")
    link(cache, [ensure()], {}, keep_others=True)
    assert sorted(entry.name for entry in cache.bin.iterdir()) == ["another", "first", "second"]


def test_pruning_keeps_what_is_still_pinned(ensure, cache, pins):
    old = ensure()
    (pins / "thing" / "go.sum").write_text("changed\n")
    new = ensure()
    environment, other = cache.root / "venv-new", cache.root / "venv-old"
    environment.mkdir()
    other.mkdir()
    prune(cache, keep={new, environment})
    assert [folder.exists() for folder in (new, environment, old, other)] == [True, True, False, False]


def test_sources_are_kept_while_another_run_builds(cache):
    cache.work.mkdir(parents=True)
    with cache.building():
        cache.remove_work_if_idle()
        assert cache.work.exists()
    cache.remove_work_if_idle()
    assert not cache.work.exists()


def test_the_kubernetes_schema_gets_a_version(tmp_path):
    """Without a version the engine refuses the provider's schema."""
    (tmp_path / "schema.json").write_text('{ "name": "kubernetes" }')
    (tmp_path / "terraform-mapping.json").write_text("{ }")
    target = tmp_path / "out"
    target.mkdir()
    embed_kubernetes_schema(tmp_path, target)
    assert (target / "schema.json").read_text() == '{"name":"kubernetes","version":"4.25.0"}'
