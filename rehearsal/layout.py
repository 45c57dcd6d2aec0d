"""The paths of a rehearsal. All its files are in `.rehearsal/<stack>/` under the repository."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Every process of a rehearsal has this variable, with the rehearsal's folder as its value, so that it can be found and ended whoever
# started it.
MARK = "ZIG_REHEARSAL"
SHARED = Path("/tmp")
"""A folder for files that all rehearsals share or that need a short path. TMPDIR will not do: each rehearsal's programs have their own."""


@dataclass(frozen=True)
class Layout:
    """The paths of one rehearsal."""

    root: Path

    @classmethod
    def of_stack(cls, stack: str, repository: Path = REPOSITORY) -> Layout:
        """Returns the layout for a stack of this repository."""
        return cls(repository / ".rehearsal" / stack)

    @classmethod
    def from_environment(cls) -> Layout:
        """Returns the layout of the rehearsal that this process belongs to."""
        if MARK not in os.environ:
            raise SystemExit("the stand-in for Azure runs only inside a rehearsal: python -m rehearsal run --stack STACK")
        return cls(Path(os.environ[MARK]))

    @property
    def project(self) -> Path:
        """The program's folder for the engine: links to the repository, and stack files of its own."""
        return self.root / "project"

    @property
    def backend(self) -> Path:
        """Pulumi's state."""
        return self.root / "backend"

    @property
    def azure(self) -> Path:
        """The resources of the stand-in for Azure."""
        return self.root / "azure.json"

    @property
    def cluster(self) -> Path:
        """The control plane's files."""
        return self.root / "cluster"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig for `kubectl`."""
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        """The logs of all parts; they are kept after a failed run."""
        return self.root / "logs"

    @property
    def home(self) -> Path:
        """Pulumi's home folder; each rehearsal has its own, so that two of them do not write the same file."""
        return self.root / "pulumi-home"

    @property
    def temporary(self) -> Path:
        """The temporary folder for what the programs of a rehearsal leave, such as kubeconfigs and certificates."""
        return self.root / "tmp"

    @property
    def types(self) -> Path:
        """The cache of Azure's types from the SDK, shared by the rehearsals of a repository."""
        return self.root.parent / "azure-types"

    @property
    def inside(self) -> Path:
        """A file that is there while the program runs inside the network, which alone reaches a private cluster."""
        return self.root / "inside"

    @property
    def observed(self) -> Path:
        """The pools whose nodes exist; the cluster's supervisor writes it and the stand-in reads it."""
        return self.cluster / "observed.json"

    @property
    def pending(self) -> Path:
        """The pods that the scheduler cannot place; the supervisor writes it and the runner reads it."""
        return self.cluster / "pending.json"

    @property
    def short(self) -> str:
        """A short name that is unique to this rehearsal's folder."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def socket(self) -> Path:
        """The egress proxy's socket. It is not under `root`, because a socket's path is limited to 107 characters."""
        return SHARED / f"zig-ai-aks-{self.short}.sock"
