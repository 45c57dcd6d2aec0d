"""Small changes of a module's source before it is compiled: it compiles with newer modules, or without packages that nothing here calls.

A module that uses one function of a package compiles all of that package and of what it imports; only the linker drops what is not called.
None of these changes alters what a program does. Each is a regular expression that must be found a fixed number of times, so that it stops
the build, and does not half apply, when a module's version changes.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from toolchain.console import ToolchainError

_NOT_COMPILED = shutil.ignore_patterns("*_test.go", "testdata", "test_specs")  # tests, and 20 MB of their data


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of one source file."""

    module: str
    file: str
    pattern: str
    """What is replaced: a regular expression in which ^ and $ match at each line."""
    by: str
    times: int = 1
    """How often the pattern must be found."""


def edit_modules(edits: Iterable[Edit], source_of: Callable[[str], Path], target: Path) -> dict[str, Path]:
    """Copies the edited modules to folders below `target`, changes them there, and returns these folders.

    `source_of` returns the folder with the unchanged source of a module. Raises ToolchainError if a file is not as it is expected.
    """
    folders: dict[str, Path] = {}
    for edit in edits:
        if edit.module not in folders:
            folders[edit.module] = target / edit.module
            shutil.copytree(source_of(edit.module), folders[edit.module], ignore=_NOT_COMPILED, copy_function=shutil.copyfile)
        _apply(edit, folders[edit.module] / edit.file)
    return folders


def _apply(edit: Edit, file: Path) -> None:
    text, times = re.subn(edit.pattern, edit.by, file.read_text() if file.exists() else "", flags=re.MULTILINE)
    if times != edit.times:
        raise ToolchainError(
            f"{edit.file} of the Go module {edit.module} contains {edit.pattern!r} {times} times and not {edit.times}: toolchain/edits.py "
            "was written for another version than the pinned one; adapt the edit to it, or remove the edit if it is not needed any more"
        )
    file.write_text(text)


_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
_KUBERNETES_SDK = "github.com/pulumi/pulumi-kubernetes/sdk/v4"
_CLIENT_GO = "k8s.io/client-go"
_INFORMER = "dynamic/dynamicinformer/informer.go"
_LIBOPENAPI = "github.com/pb33f/libopenapi"

PROVIDER_EDITS = (
    # Pulumi 3.274 made this field a pointer. With this the provider compiles in Pulumi's module graph, and shares 850 packages with it.
    Edit(module=_PROVIDER, file="pkg/gen/schema.go", pattern=r"^(\t\tProvider: )(pschema\.ResourceSpec\{)", by=r"\1&\2"),
    # The objects of a chart or a YAML file are registered under the name of their type, which stays. The Go variable that receives their
    # outputs is never read, so that of custom resources does for all, without the Go types of all Kubernetes objects (26 MB of source).
    Edit(
        module=_KUBERNETES_SDK,
        file="go/kubernetes/yaml/v2/kinds.go",
        pattern=r"^\t\tvar res \w+\.\w+$",
        by="\t\tvar res apiextensions.CustomResource",
        times=158,
    ),
    Edit(
        module=_KUBERNETES_SDK,
        file="go/kubernetes/yaml/v2/kinds.go",
        pattern=r'^\t\w+ "github\.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/.*"\n',
        by="",
        times=61,
    ),
    # The dynamic client needs one interface of a package that imports the informers and listers of all types, 110 packages.
    Edit(module=_CLIENT_GO, file=_INFORMER, pattern=r'^\t"k8s\.io/client-go/informers"\n', by=""),
    Edit(
        module=_CLIENT_GO,
        file=_INFORMER,
        pattern=r"^var _ informers\.GenericInformer",
        by="type GenericInformer interface {\n\tInformer() cache.SharedIndexInformer\n\tLister() cache.GenericLister\n}\n"
        "var _ GenericInformer",
    ),
    Edit(module=_CLIENT_GO, file=_INFORMER, pattern=r"\binformers\.GenericInformer\b", by="GenericInformer", times=4),
    Edit(module=_CLIENT_GO, file="dynamic/dynamicinformer/interface.go", pattern=r'^\t"k8s\.io/client-go/informers"\n', by=""),
    Edit(module=_CLIENT_GO, file="dynamic/dynamicinformer/interface.go", pattern=r"\binformers\.GenericInformer\b", by="GenericInformer"),
)

PULUMI_EDITS = (
    # `pulumi cloud api` reads an OpenAPI document. It compares none, and reads no Arazzo document: functions that Pulumi does not call.
    Edit(module=_LIBOPENAPI, file="document.go", pattern=r"^// CompareDocuments will accept(?:.*\n)*?\}\n", by=""),
    Edit(
        module=_LIBOPENAPI,
        file="document.go",
        pattern=r'^\t(?:what_changed )?"github\.com/pb33f/libopenapi/what-changed(?:/model)?"\n',
        by="",
        times=2,
    ),
    Edit(module=_LIBOPENAPI, file="arazzo.go", pattern=r"^package libopenapi\n(?:.*\n)*", by="package libopenapi\n"),
)
