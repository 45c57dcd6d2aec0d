"""Where everything of one rehearsal lies: `.rehearsal/<stack>/` under the repository, and nowhere else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Every process of a rehearsal carries this variable with the rehearsal's folder, so that it can be found and ended by its
# id, whoever started it and whatever became of the one who did.
MARK = "ZIG_REHEARSAL"
SHARED = Path("/tmp")
"""For what all rehearsals share, or must find by a short path: not TMPDIR, which is of each rehearsal's own programs."""


@dataclass(frozen=True)
class Layout:
    """The paths of one rehearsal."""

    root: Path

    @classmethod
    def of_stack(cls, stack: str, repository: Path = REPOSITORY) -> Layout:
        """The rehearsal of a stack of this repository."""
        return cls(repository / ".rehearsal" / stack)

    @classmethod
    def from_environment(cls) -> Layout:
        """The rehearsal that this process belongs to."""
        if MARK not in os.environ:
            raise SystemExit("the stand-in for Azure runs only inside a rehearsal: python -m rehearsal run --stack STACK")
        return cls(Path(os.environ[MARK]))

    @property
    def project(self) -> Path:
        """The program as the engine sees it: links to the repository, stack files of its own."""
        return self.root / "project"

    @property
    def backend(self) -> Path:
        """The engine's state."""
        return self.root / "backend"

    @property
    def azure(self) -> Path:
        """The stand-in's cloud."""
        return self.root / "azure.json"

    @property
    def cluster(self) -> Path:
        """The control plane's files."""
        return self.root / "cluster"

    @property
    def kubeconfig(self) -> Path:
        """For `kubectl`."""
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        """What each part wrote; kept after a failed run."""
        return self.root / "logs"

    @property
    def home(self) -> Path:
        """The engine's home: what it remembers between operations, so that two rehearsals do not write one file."""
        return self.root / "pulumi-home"

    @property
    def temporary(self) -> Path:
        """For what the programs of a rehearsal write and leave: kubeconfigs, certificates."""
        return self.root / "tmp"

    @property
    def types(self) -> Path:
        """What was read from the SDK about Azure's types, shared by the rehearsals of a repository."""
        return self.root.parent / "azure-types"

    @property
    def observed(self) -> Path:
        """Which pools have their nodes: written by the cluster's supervisor, read by the stand-in."""
        return self.cluster / "observed.json"

    @property
    def pending(self) -> Path:
        """Pods that the scheduler cannot place: written by the supervisor, read by the runner."""
        return self.cluster / "pending.json"

    @property
    def short(self) -> str:
        """A short name for this rehearsal, unlike that of any other folder."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def socket(self) -> Path:
        """The egress proxy's socket. Not under `root`: a socket's path has at most 107 characters."""
        return SHARED / f"zig-ai-aks-{self.short}.sock"
