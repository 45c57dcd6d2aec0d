"""The per-user cache: its folders and locks. Incomplete items are never visible."""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.console import say


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folders under one root.

    bin, share   flat folders of symlinks, which everything else uses
    programs     one folder for each program and version of its pins
    work         Go's sources and build cache, and Go itself if PATH has none; removed once all programs are built
    """

    root: Path

    @classmethod
    def of_user(cls) -> "Cache":
        """Returns the user's cache: `$ZIG_AI_CACHE`, or `zig-ai-aks` in the user's cache folder."""
        if named := os.environ.get("ZIG_AI_CACHE"):
            return cls(root=Path(named).expanduser().absolute())
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(root=Path(base) / "zig-ai-aks")

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def share(self) -> Path:
        return self.root / "share"

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @contextmanager
    def lock(self, item: str) -> Generator[None]:
        """Locks `item`, and says so if it has to wait for another run. The kernel releases the lock when a run dies."""
        with self._lock_file(item) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run that is installing {item}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def building(self) -> Generator[None]:
        """A lock that all building runs share, so that no run removes `work` while another uses it."""
        with self._lock_file("work") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    def remove_work_if_idle(self) -> None:
        """Removes `work` unless another run is building."""
        if not self.work.exists():
            return
        with self._lock_file("work") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # the run that is still building removes it
            remove(self.work)

    @contextmanager
    def _lock_file(self, item: str) -> Generator[int]:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{item}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield handle
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Removes a folder if it exists."""
    if path.exists():
        shutil.rmtree(path)


def point(link: Path, target: Path) -> None:
    """Makes `link` a symlink to `target` in one step, so that it is never missing."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)


def size_bytes(path: Path) -> int:
    """Returns the size of all files in a folder, in bytes."""
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def copy_out(source: Path, target: Path) -> None:
    """Copies files without their permissions: those of Go modules are read-only, which would make the cache hard to remove."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(target):
            os.chmod(folder, 0o755)
    else:
        shutil.copyfile(source, target)
        target.chmod(0o755)
