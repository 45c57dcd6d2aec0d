"""Finds programs on PATH. A missing one is named with the make target that installs it, in the same words everywhere."""

import shutil

REHEARSAL = (
    "pulumi",
    "pulumi-language-python",
    "pulumi-resource-kubernetes",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "kwokctl",
    "lws-controller",
)
"""What a rehearsal starts."""


class MissingProgramError(Exception):
    """Programs are not on PATH; the message says which, and which make target installs them."""


def require_programs(*names: str, target: str) -> None:
    """Raises MissingProgramError with all of these programs that are not on PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        one = len(missing) == 1
        raise MissingProgramError(
            f"{', '.join(missing)} {'is' if one else 'are'} not on PATH: `make {target}` installs {'it' if one else 'them'} and puts "
            f"{'it' if one else 'them'} there"
        )


def find_program(name: str, *, target: str) -> str:
    """Returns the path of a program. Raises MissingProgramError."""
    require_programs(name, target=target)
    return str(shutil.which(name))
