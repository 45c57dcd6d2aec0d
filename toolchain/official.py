"""Takes programs from the archives that their projects publish, so that nobody compiles what can be downloaded.

An archive is used only if its checksum is the one in the list that the project publishes beside it. Whatever goes wrong on the way
(no network, no such release, another checksum, a connection that ends early) is said in one line, and the program is built instead.
"""

import contextlib
import hashlib
import http.client
import json
import platform
import queue
import re
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from toolchain.cache import Cache, remove, size_bytes
from toolchain.console import megabytes, report, report_seconds, say
from toolchain.recipes import RECIPES
from toolchain.venv import locked_version

CONNECT_SECONDS = 3  # for all hosts together
STALL_SECONDS = 30  # without a byte of an archive
_LATE = "no answer within {:g} s"
_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One file that a project publishes: programs in an archive, or a program itself."""

    programs: tuple[str, ...]
    version: str
    url: str
    checksums: str
    """The address of the SHA-256 of this file, alone or in a list with those of other files."""
    inside: str = ""
    """The folder of the programs in the archive."""

    @property
    def name(self) -> str:
        """The first program and its version, for messages."""
        return f"{self.programs[0]} {self.version}"

    def folder(self, cache: Cache) -> Path:
        """Returns the folder of these programs in the cache. Its name depends on what is downloaded."""
        content = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return cache.programs / f"{self.programs[0]}-official-{content}"


def known_releases(pins: Path, github: str = "https://github.com", kubernetes: str = "https://dl.k8s.io") -> list[Release]:
    """Returns the releases of the pinned versions for this system, in the layouts that the projects document.

    kwok publishes no checksums, the LeaderWorkerSet controller and KEDA publish images alone, so these are built.

    Sources: Pulumi https://github.com/pulumi/pulumi/issues/9416 (list of checksums) and https://www.pulumi.com/docs/install/versions/;
    its Kubernetes plugin https://github.com/pulumi/pulumi-kubernetes/blob/master/.goreleaser.yml with GoReleaser's default name of the
    list (https://goreleaser.com/customization/checksum/); Kubernetes https://kubernetes.io/releases/download/#binaries; etcd and
    Prometheus https://github.com/aquaproj/aqua-registry/tree/main/pkgs, `etcd-io/etcd` and `prometheus/prometheus`.
    """
    system, processor = platform.system().lower(), _PROCESSORS.get(platform.machine().lower())
    if system not in ("linux", "darwin") or processor is None:
        return []
    pulumi = _pinned("pulumi", "github.com/pulumi/pulumi/pkg/v3", pins)
    plugin = f"v{locked_version('pulumi-kubernetes')}"  # the engine asks for the version of the SDK
    prometheus = _pinned("promtool", "github.com/prometheus/prometheus", pins)
    major, minor = divmod(int(prometheus.split(".")[1]), 100)  # the module v0.316.0 is the release 3.16.0
    prometheus = f"{major}.{minor}.{prometheus.split('.')[2]}"
    at = f"{github}/pulumi/pulumi/releases/download/{pulumi}"
    plugin_at = f"{github}/pulumi/pulumi-kubernetes/releases/download/{plugin}"
    prometheus_at = f"{github}/prometheus/prometheus/releases/download/v{prometheus}"
    prometheus_name = f"prometheus-{prometheus}.{system}-{processor}"
    found = [
        Release(
            programs=("pulumi", "pulumi-language-python", "pulumi-language-python-exec"),
            version=pulumi,
            url=f"{at}/pulumi-{pulumi}-{system}-{processor.replace('amd64', 'x64')}.tar.gz",
            checksums=f"{at}/pulumi-{pulumi.removeprefix('v')}-checksums.txt",
            inside="pulumi/",
        ),
        Release(
            programs=("pulumi-resource-kubernetes",),
            version=plugin,
            url=f"{plugin_at}/pulumi-resource-kubernetes-{plugin}-{system}-{processor}.tar.gz",
            checksums=f"{plugin_at}/pulumi-kubernetes_{plugin.removeprefix('v')}_checksums.txt",
        ),
        Release(
            programs=("prometheus", "promtool"),
            version=prometheus,
            url=f"{prometheus_at}/{prometheus_name}.tar.gz",
            checksums=f"{prometheus_at}/sha256sums.txt",
            inside=f"{prometheus_name}/",
        ),
    ]
    return found + _for_linux(processor, pins, github, kubernetes) if system == "linux" else found


def _for_linux(processor: str, pins: Path, github: str, kubernetes: str) -> list[Release]:
    """Returns what is published for Linux in these forms; for macOS etcd publishes a zip file, and Kubernetes kubectl alone."""
    etcd = _pinned("etcd", "go.etcd.io/etcd/server/v3", pins)
    server = _pinned("kube-apiserver", "k8s.io/kubernetes", pins)
    etcd_at, etcd_name = f"{github}/etcd-io/etcd/releases/download/{etcd}", f"etcd-{etcd}-linux-{processor}"
    archive = Release(
        programs=("etcd",), version=etcd, url=f"{etcd_at}/{etcd_name}.tar.gz", checksums=f"{etcd_at}/SHA256SUMS", inside=f"{etcd_name}/"
    )
    names = ("kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubectl")
    urls = {name: f"{kubernetes}/release/{server}/bin/linux/{processor}/{name}" for name in names}
    return [archive, *(Release(programs=(name,), version=server, url=url, checksums=f"{url}.sha256") for name, url in urls.items())]


def _pinned(program: str, module: str, pins: Path) -> str:
    """Returns the version of a module in the go.mod of the recipe that builds `program`."""
    recipe = next(recipe for recipe in RECIPES if program in (output.name for output in recipe.outputs))
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (pins / recipe.pins / "go.mod").read_text(), re.MULTILINE)
    assert found, f"the go.mod of {recipe.pins} does not name {module}"
    return found[1]


class _ReleaseError(Exception):
    """A release cannot be used; the text says why."""


def fetch_all(cache: Cache, releases: list[Release], connect_seconds: float = CONNECT_SECONDS) -> list[Release]:
    """Downloads releases into the cache and returns those that are there now. Says why the others are built."""
    taken, refused = [], defaultdict(list)
    lists = _ask({release.checksums for release in releases}, connect_seconds)
    for release in releases:
        answer = lists[release.checksums]
        try:
            if isinstance(answer, _ReleaseError):
                raise answer
            _take(cache, release, _checksum_in(answer, release.url))
            taken.append(release)
        except _ReleaseError as problem:
            refused[f"{_host(release.url)}: {problem}"].append(release.name)
    for reason, names in refused.items():
        say(f"{', '.join(names)}: built here, because no official release could be used ({reason})")
    return taken


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _ask(urls: Iterable[str], seconds: float) -> dict[str, "str | _ReleaseError"]:
    """Reads small files, all at once, and waits for `seconds` in all. The answer is the text, or the reason why there is none."""
    answers: queue.SimpleQueue[tuple[str, str | _ReleaseError]] = queue.SimpleQueue()

    def read(url: str) -> None:
        try:
            with _open(url, seconds) as source:
                answers.put((url, _read(source, 1 << 20).decode(errors="replace")))
        except _ReleaseError as problem:
            answers.put((url, problem))

    urls = list(urls)
    for url in urls:
        # A name server that does not answer cannot be interrupted, so nobody waits for these threads.
        threading.Thread(target=read, args=(url,), daemon=True).start()
    found: dict[str, str | _ReleaseError] = dict.fromkeys(urls, _ReleaseError(_LATE.format(seconds)))
    deadline = time.monotonic() + seconds
    for _ in urls:
        with contextlib.suppress(queue.Empty):
            url, answer = answers.get(timeout=max(0.001, deadline - time.monotonic()))
            found[url] = answer
    return found


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(url, timeout=timeout)
    except urllib.error.HTTPError as problem:
        raise _ReleaseError(f"HTTP {problem.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        reason = getattr(problem, "reason", problem)
        late = isinstance(reason, TimeoutError)
        raise _ReleaseError(_LATE.format(timeout) if late else str(reason)) from None


def _read(source: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return source.read(size)
    except (OSError, http.client.HTTPException) as problem:
        raise _ReleaseError(f"the connection ended: {problem}") from None


def _checksum_in(text: str, url: str) -> str:
    """Returns the SHA-256 of a file from a list in the format of `sha256sum`, or from a file that holds nothing else."""
    name = url.rpartition("/")[2]
    for line in text.splitlines():
        parts = line.split()
        if parts and re.fullmatch(r"[0-9a-fA-F]{64}", parts[0]) and (len(parts) == 1 or parts[1].lstrip("*") == name):
            return parts[0].lower()
    raise _ReleaseError(f"its list of checksums does not name {name}")


def _take(cache: Cache, release: Release, checksum: str) -> None:
    """Downloads, checks and unpacks a release. Its folder gets its final name only when it is complete."""
    folder = release.folder(cache)
    with cache.lock(folder.name):
        if folder.exists():  # another run was faster
            return
        partial = folder.with_name(f".{folder.name}.partial")
        remove(partial)  # left by an interrupted run
        (partial / "bin").mkdir(parents=True)
        started = time.monotonic()
        try:
            _download(release, partial / "download", checksum)
            _unpack(release, partial)
        except BaseException:
            remove(partial)  # it may have filled the disk
            raise
        size = size_bytes(partial)
        (partial / "made.json").write_text(json.dumps({"size_bytes": size, "seconds": round(time.monotonic() - started)}))
        partial.rename(folder)
    programs = ", ".join(release.programs)
    say(f"{programs} {release.version}: official release with the right checksum from {_host(release.url)}, {megabytes(size)}")


def _download(release: Release, file: Path, checksum: str) -> None:
    digest, done, reported = hashlib.sha256(), 0, time.monotonic()
    with _open(release.url, STALL_SECONDS) as source, file.open("wb") as copy:
        total = int(source.headers.get("Content-Length") or 0)
        while part := _read(source, 1 << 20):
            copy.write(part)
            digest.update(part)
            done += len(part)
            if time.monotonic() - reported > report_seconds():
                reported = time.monotonic()
                report(f"{release.name}: {megabytes(done)} of {megabytes(total)} downloaded")
    if done < total:
        raise _ReleaseError(f"the connection ended after {done} of {total} bytes")
    if digest.hexdigest() != checksum:
        raise _ReleaseError(f"its SHA-256 is {digest.hexdigest()}, and the project publishes {checksum}")


def _unpack(release: Release, target: Path) -> None:
    """Copies the programs out of the download. Only regular files with the expected names are read, so no path of the archive counts."""
    download = target / "download"
    if not release.url.endswith(".tar.gz"):
        download.rename(target / "bin" / release.programs[0])
    else:
        try:
            with tarfile.open(download) as archive:
                members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
                for program in release.programs:
                    member = members.get(release.inside + program)
                    source = archive.extractfile(member) if member else None
                    if source is None:
                        raise _ReleaseError(f"its archive has no file {release.inside}{program}")
                    with (target / "bin" / program).open("wb") as copy:
                        shutil.copyfileobj(source, copy)
        except (tarfile.TarError, EOFError, zlib.error) as problem:
            raise _ReleaseError(f"its archive cannot be read: {problem}") from None
        download.unlink()
    for program in release.programs:
        (target / "bin" / program).chmod(0o755)
