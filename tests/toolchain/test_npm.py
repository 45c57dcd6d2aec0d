"""A program from an npm package: fetched from a registry, checked by its hash, unpacked, and made anew after a failure."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.toolchain.conftest import executable
from toolchain.console import ToolchainError
from toolchain.programs import ensure_program
from toolchain.progress import Progress
from toolchain.recipes import NpmRecipe, Output

pytestmark = pytest.mark.process

FAKE_UV = """#!{python}
import os, sys
if sys.argv[1:] == ["--version"]:
    print("uv 0.13.9")
    sys.exit()
target = sys.argv[sys.argv.index("--target") + 1]
os.makedirs(target)
open(target + "/brotli.py", "w").write("def decompress(data):\\n    return data[::-1]\\n")
"""
PROGRAM = b'#!/bin/sh\necho "$@" with "$LD_LIBRARY_PATH"; cat "$LD_LIBRARY_PATH/libx.so"\n'


def tar(files, mode="w"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/bin/outside")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return made.getvalue()


def pressed(content):
    return content[::-1]


ARCHIVE = tar(
    {
        "package/bin/thing.br": pressed(PROGRAM),
        "package/bin/libraries.tar.br": pressed(tar({"lib/libx.so": b"its own library\n"})),
        "package/README.md": b"unwanted",
    },
    "w:gz",
)
RECIPE = NpmRecipe(
    name="thing",
    package="@someone/thing",
    version="1.2.3",
    integrity="sha512-" + base64.b64encode(hashlib.sha512(ARCHIVE).digest()).decode(),
    outputs=(Output(name="thing", package="bin/thing.br", cpu_seconds=1),),
    libraries="bin/libraries.tar.br",
)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that is served as npm's registry."""
    folder = tmp_path / "registry"
    (folder / "@someone/thing/-").mkdir(parents=True)
    (folder / "@someone/thing/-/thing-1.2.3.tgz").write_bytes(ARCHIVE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def ensure(cache, tmp_path, registry, monkeypatch):
    home, pins = tmp_path / "tools", tmp_path / "pins"
    executable(home / "uv", FAKE_UV.format(python=sys.executable))
    (pins / "thing").mkdir(parents=True)
    (pins / "thing" / "requirements.txt").write_text("brotli==1.0 --hash=sha256:aa\n")
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    return lambda recipe=RECIPE: ensure_program(cache, recipe, lambda: pytest.fail("Go is not needed"), Progress.of([RECIPE]), pins)


def test_the_program_runs_with_its_own_libraries_and_nothing_else_is_kept(ensure):
    folder = ensure()
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() or file.is_symlink())
    assert found == ["bin/thing", "lib/thing/lib/libx.so", "lib/thing/thing", "made.json"]
    away = folder.parent / "linked"
    away.symlink_to(folder / "bin" / "thing")
    said = subprocess.run([away, "a b", "c"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("a b c with ") and said.endswith("its own library\n")


def test_a_second_run_fetches_nothing(ensure, registry):
    folder = ensure()
    (registry / "@someone/thing/-/thing-1.2.3.tgz").unlink()
    assert ensure() == folder


def test_another_archive_than_the_pinned_one_is_refused(ensure, registry, cache):
    file = registry / "@someone/thing/-/thing-1.2.3.tgz"
    file.write_bytes(ARCHIVE + b"more")
    with pytest.raises(ToolchainError, match="does not match its pin: its sha512 is "):
        ensure()
    assert list(cache.programs.iterdir()) == []
    file.write_bytes(ARCHIVE)
    assert os.access(ensure() / "bin" / "thing", os.X_OK)


def test_a_connection_that_ends_early_is_said_as_that(ensure, monkeypatch, cache):
    """Otherwise it would be reported as a package that someone has changed."""
    monkeypatch.setattr(SimpleHTTPRequestHandler, "copyfile", lambda self, source, target: target.write(source.read()[:100]))
    with pytest.raises(ToolchainError, match=f"the connection ended after 100 of {len(ARCHIVE)} bytes"):
        ensure()
    assert list(cache.programs.iterdir()) == []


def test_what_the_registry_lacks_is_one_line(ensure):
    with pytest.raises(ToolchainError) as problem:
        ensure(replace(RECIPE, version="9"))
    assert str(problem.value).startswith("downloading @someone/thing 9 from http://127.0.0.1")
    assert str(problem.value).endswith("failed: HTTP Error 404: File not found")
