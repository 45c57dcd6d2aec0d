"""What goes wrong outside is one line that says what to do, and leaves nothing half installed."""

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import toolchain.__main__ as command
from toolchain.cache import Cache
from toolchain.console import OfflineError
from toolchain.failures import failure
from toolchain.programs import folder_of
from toolchain.recipes import KEDA, LLAMA_SERVER

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[2]


def test_without_a_network_one_message_says_what_is_missing_and_how_to_bring_it(tmp_path):
    """A registry on a port where nothing listens, asked by the real pip or uv."""
    nowhere = "http://127.0.0.1:9/simple"
    environment = {"PIP_INDEX_URL": nowhere, "PIP_RETRIES": "1", "UV_DEFAULT_INDEX": nowhere, "UV_HTTP_RETRIES": "0"}
    arguments = [sys.executable, "-m", "toolchain", "get", "engine", "cluster"]
    environment = os.environ | environment | {"ZIG_AI_CACHE": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "uv")}
    done = subprocess.run(arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "failed, because a registry cannot be reached. Missing: the Python environment, pulumi" in last
    assert "lws-controller, keda. To bring it, connect this machine, or name mirrors that it reaches (PIP_INDEX_URL" in last
    assert last.endswith(f"copy its {tmp_path}")
    assert not list(tmp_path.glob("venv-*")), "half an environment is left"


@pytest.mark.parametrize(
    "output",
    [
        'go: example.org/a@v1: Get "https://proxy/a": dial tcp: lookup proxy: no such host',
        "  Caused by: dns error: failed to lookup address information: Temporary failure in name resolution",
        "NewConnectionError('<HTTPSConnection>: Failed to establish a new connection: [Errno 111] Connection refused')",
        "<urlopen error [Errno -2] Name or service not known>",
    ],
)
def test_each_tool_s_words_for_no_network_are_known(output, tmp_path):
    assert isinstance(failure("installing uv", output, tmp_path), OfflineError)


def test_another_failure_shows_its_output(tmp_path):
    assert str(failure("installing uv", "a\nhash mismatch\n", tmp_path)) == "installing uv failed; the output ends with:\na\nhash mismatch"


def test_a_full_disk_is_said_by_the_failing_program_or_seen(tmp_path, monkeypatch):
    """Python's own ensurepip hides the reason, so the disk is looked at too."""
    advice = f"the disk of {tmp_path / 'new'} is full: all programs take up to 17.0 GB while they are built"
    assert advice in str(failure("building etcd", "write /tmp/x: no space left on device", tmp_path / "new"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert advice in str(failure("creating an environment", "Error: ensurepip returned 1", tmp_path / "new"))


def test_a_disk_that_is_full_while_files_are_written_is_one_line(tmp_path, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("ZIG_AI_CACHE", str(tmp_path))
    monkeypatch.setattr(command, "ensure_venv", full)
    assert command.main(["venv"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"toolchain: the disk of {tmp_path} is full: ")


def test_a_whole_cache_may_be_read_only(cache, monkeypatch):
    """It may belong to another user, or to an image; then nothing is written and nothing is locked."""
    (folder_of(cache, KEDA) / "share" / "keda").mkdir(parents=True)
    command._ensure(cache, Path("/nowhere"), [KEDA], keep_others=True)

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Cache, "_lock_file", read_only)
    monkeypatch.setattr("toolchain.programs.point", read_only)
    command._ensure(cache, Path("/nowhere"), [KEDA], keep_others=True)
    assert (cache.share / "keda").exists()


def test_without_a_compiler_nothing_is_begun(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        command.ToolchainError, match="needs a C\\+\\+ compiler and make, which are not on PATH: apt install build-essential"
    ):
        command._ensure(cache, Path("/nowhere"), [KEDA, LLAMA_SERVER], keep_others=True)
    assert not cache.root.exists()


def test_an_old_python_says_so_in_one_line():
    """The file that says it must be read by the old Python; 3.6 is the oldest that has its f-strings."""
    ast.parse((REPOSITORY / "toolchain" / "__init__.py").read_text(), feature_version=(3, 6))
    old = "import sys; sys.version_info = (3, 9, 2); import toolchain"
    done = subprocess.run([sys.executable, "-c", old], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    advice = "name a newer one, for example: make plan PYTHON=python3.12"
    assert done.stderr == f"toolchain: Python 3.11 or newer is needed, and {sys.executable} is 3.9; {advice}\n"
