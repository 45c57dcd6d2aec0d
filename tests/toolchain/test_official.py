"""Official releases, from a server on this machine with the layout of the real ones. The real hosts are not asked."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from toolchain.official import Release, fetch_all, known_releases
from toolchain.programs import PINS, folder_of
from toolchain.recipes import PROGRAMS
from toolchain.sources import choose, programs_of, without

pytestmark = pytest.mark.process


class Server(ThreadingHTTPServer):
    """Answers with `files` by path; a file may also be cut in the middle, or not be answered at all."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.ends = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        if self.path in server.silent:
            server.ends.wait(60)
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path in server.cut else content)

    def log_message(self, format, *args):  # the output is for tests
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("toolchain.official.STALL_SECONDS", 1)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.ends.set()
        server.shutdown()
        thread.join()


def archive(**members: bytes) -> bytes:
    """A .tar.gz with these members, of which `/` is written `__`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def publish(server: Server, release: Release, content: bytes, checksum: str = "") -> None:
    path, checksums = (url.removeprefix(server.url) for url in (release.url, release.checksums))
    name = path.rpartition("/")[2]
    server.files[path] = content
    line = f"{checksum or hashlib.sha256(content).hexdigest()}  {name}\n"
    server.files[checksums] = f"{'0' * 64}  another-file\n{line}".encode()


@pytest.fixture
def release(server) -> Release:
    """Both programs of the recipe `thing`, as etcd publishes its own."""
    at = f"{server.url}/thing/releases/download/v1.2.3"
    return Release(
        programs=("first", "second"),
        version="v1.2.3",
        url=f"{at}/thing-v1.2.3-linux-amd64.tar.gz",
        checksums=f"{at}/SHA256SUMS",
        inside="thing-v1.2.3-linux-amd64/",
    )


GOOD = archive(**{"thing-v1.2.3-linux-amd64__first": b"one", "thing-v1.2.3-linux-amd64__second": b"two", "README": b"-"})


def test_a_release_with_the_right_checksum_is_taken(server, release, cache, capsys):
    publish(server, release, GOOD)
    assert fetch_all(cache, [release]) == [release]
    programs = release.folder(cache) / "bin"
    assert {file.name: (file.read_bytes(), file.stat().st_mode & 0o777) for file in programs.iterdir()} == {
        "first": (b"one", 0o755),
        "second": (b"two", 0o755),
    }
    assert "first, second v1.2.3: official release with the right checksum from 127.0.0.1" in capsys.readouterr().err


def test_a_program_that_is_published_by_itself_is_taken(server, cache):
    """Kubernetes publishes each program with its bare checksum beside it."""
    url = f"{server.url}/release/v1.36.3/bin/linux/amd64/kubectl"
    single = Release(programs=("kubectl",), version="v1.36.3", url=url, checksums=f"{url}.sha256")
    server.files["/release/v1.36.3/bin/linux/amd64/kubectl"] = b"program"
    server.files["/release/v1.36.3/bin/linux/amd64/kubectl.sha256"] = hashlib.sha256(b"program").hexdigest().encode()
    assert fetch_all(cache, [single]) == [single]
    assert (single.folder(cache) / "bin" / "kubectl").read_bytes() == b"program"


def refused(cache, release, capsys) -> str:
    """Says why the release is not used, once it is certain that nothing of it is left."""
    assert fetch_all(cache, [release], connect_seconds=1) == []
    assert not cache.programs.exists() or list(cache.programs.iterdir()) == []
    said = capsys.readouterr().err
    assert said.startswith("toolchain: first v1.2.3: built here, because no official release could be used (127.0.0.1")
    return said


def test_another_checksum_is_refused(server, release, cache, capsys):
    publish(server, release, GOOD, checksum="a" * 64)
    assert f"its SHA-256 is {hashlib.sha256(GOOD).hexdigest()}, and the project publishes {'a' * 64}" in refused(cache, release, capsys)


def test_a_file_that_the_list_does_not_name_is_refused(server, release, cache, capsys):
    publish(server, release, GOOD)
    server.files["/thing/releases/download/v1.2.3/SHA256SUMS"] = b"0" * 64 + b"  thing-v1.2.3-linux-arm64.tar.gz\n"
    assert "its list of checksums does not name thing-v1.2.3-linux-amd64.tar.gz" in refused(cache, release, capsys)


@pytest.mark.parametrize("missing", ["SHA256SUMS", "thing-v1.2.3-linux-amd64.tar.gz"])
def test_a_release_that_there_is_not_is_built(server, release, cache, capsys, missing):
    publish(server, release, GOOD)
    del server.files[f"/thing/releases/download/v1.2.3/{missing}"]
    assert "HTTP 404" in refused(cache, release, capsys)


def test_hosts_that_do_not_answer_are_waited_for_together(server, cache, capsys):
    """The limit is for all of them, so they are asked at once."""
    many = [Release(programs=(f"p{n}",), version="v1", url=f"{server.url}/{n}", checksums=f"{server.url}/{n}.sha256") for n in range(3)]
    server.silent = {f"/{n}.sha256" for n in range(3)}
    assert fetch_all(cache, many, connect_seconds=1) == []
    assert len(capsys.readouterr().err.splitlines()) == 1, "one line says it for all of them"
    assert len(server.asked) > 1, "they were asked one after the other"


def test_a_download_that_stalls_is_given_up(server, release, cache, capsys):
    publish(server, release, GOOD)
    server.silent = {release.url.removeprefix(server.url)}
    assert "no answer within 1 s" in refused(cache, release, capsys)


def test_a_connection_that_ends_early_is_not_taken_for_a_whole_file(server, release, cache, capsys):
    publish(server, release, GOOD)
    server.cut = {release.url.removeprefix(server.url)}
    assert f"the connection ended after {len(GOOD) // 2} of {len(GOOD)} bytes" in refused(cache, release, capsys)


def test_an_archive_writes_nothing_but_the_expected_programs(server, release, cache, tmp_path):
    inside = release.inside.replace("/", "__")
    climbing = {f"{inside}first": b"one", f"{inside}second": b"two", "..__..__..__evil": b"!", f"{tmp_path}/evil".replace("/", "__"): b"!"}
    publish(server, release, archive(**climbing))
    assert fetch_all(cache, [release]) == [release]
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock") == [
        "first",
        "made.json",
        "second",
    ]


def test_an_archive_whose_program_is_a_link_is_refused(server, release, cache, capsys):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        member = tarfile.TarInfo("thing-v1.2.3-linux-amd64/first")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(member)
    publish(server, release, buffer.getvalue())
    assert "its archive has no file thing-v1.2.3-linux-amd64/first" in refused(cache, release, capsys)


def test_what_is_no_archive_is_refused(server, release, cache, capsys):
    publish(server, release, b"<html>Sign in to the hotel's network</html>")
    assert "its archive cannot be read" in refused(cache, release, capsys)


def test_a_release_replaces_the_build_of_its_programs_alone(server, release, cache, recipe, pins):
    only_first = Release(programs=("first",), version="v1.2.3", url=release.url, checksums=release.checksums, inside=release.inside)
    not_there = Release(programs=("second",), version="v1.2.3", url=f"{server.url}/second", checksums=f"{server.url}/second.sha256")
    publish(server, only_first, GOOD)
    sources = choose(cache, [recipe], pins, known=lambda _: [only_first, not_there])
    assert sources.releases == [only_first]
    [rest] = sources.recipes
    assert programs_of(rest) == {"second"}
    assert rest.copies == recipe.copies, "the files that the release does not have come from the module"
    asked = len(server.asked)
    folder_of(cache, rest, pins).mkdir()
    assert choose(cache, [recipe], pins, known=lambda _: [only_first, not_there]) == sources
    assert len(server.asked) == asked, "a second run asked again"


def test_a_release_that_cannot_be_had_leaves_the_recipe_whole(server, release, cache, recipe, pins):
    assert choose(cache, [recipe], pins, known=lambda _: [release]).recipes == [recipe]


def test_what_was_built_is_kept_and_nobody_is_asked(server, release, cache, recipe, pins):
    folder_of(cache, recipe, pins).mkdir(parents=True)
    publish(server, release, GOOD)
    sources = choose(cache, [recipe], pins, known=lambda _: [release])
    assert (sources.releases, sources.recipes, server.asked) == ([], [recipe], [])


def test_an_installed_program_is_asked_for_only_if_the_cache_has_none(cache, recipe, pins, tmp_path, monkeypatch):
    """Otherwise each run would say again that an old kubectl on PATH does not fit."""
    asked = []
    monkeypatch.setattr("toolchain.sources.find_installed", lambda cache, wanted: asked.append(wanted) or {"second": tmp_path / "second"})
    sources = choose(cache, [recipe], pins, known=lambda _: [])
    assert (sources.installed, [programs_of(left) for left in sources.recipes]) == ({"second": tmp_path / "second"}, [{"first"}])
    folder_of(cache, recipe, pins).mkdir(parents=True)
    choose(cache, [recipe], pins, known=lambda _: [])
    assert asked == [{"first", "second"}, set()]


def test_all_can_be_built(server, release, cache, recipe, pins, monkeypatch):
    publish(server, release, GOOD)
    monkeypatch.setenv("ZIG_AI_BUILD", "1")
    assert choose(cache, [recipe], pins, known=lambda _: [release]).recipes == [recipe]
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_not_taken_for_a_bad_release(server, release, cache, monkeypatch):
    """Building would only fail later, and say less."""
    publish(server, release, GOOD)
    cache.programs.parent.mkdir(parents=True)
    cache.programs.touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        fetch_all(cache, [release])


def test_the_known_releases_are_of_the_pinned_versions(server, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    releases = {release.programs[0]: release for release in known_releases(PINS, github="G", kubernetes="K")}
    every = {name for recipe in PROGRAMS for name in programs_of(recipe)}
    assert {name for release in releases.values() for name in release.programs} <= every
    versions = {recipe.name: recipe.version for recipe in PROGRAMS}
    at = f"G/pulumi/pulumi/releases/download/{versions['pulumi']}"
    assert releases["pulumi"].url == f"{at}/pulumi-{versions['pulumi']}-linux-x64.tar.gz"
    assert releases["pulumi"].checksums == f"{at}/pulumi-{versions['pulumi'][1:]}-checksums.txt"
    assert releases["kube-apiserver"].checksums == f"K/release/{versions['kubernetes']}/bin/linux/amd64/kube-apiserver.sha256"
    assert releases["prometheus"].url == "G/prometheus/prometheus/releases/download/v3.16.0/prometheus-3.16.0.linux-amd64.tar.gz"
    left = {
        name
        for recipe in without(PROGRAMS, {name for release in releases.values() for name in release.programs})
        for name in programs_of(recipe)
    }
    assert {"kwok", "kwokctl", "lws-controller", "actionlint", "llama-server"} <= left


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "riscv64")])
def test_systems_without_releases_ask_nobody(monkeypatch, system, machine):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert known_releases(PINS) == []
