"""What is installed already and fits is used as it is; what does not fit is named with its reason and left alone."""

import pytest

from tests.toolchain.conftest import executable
from toolchain.installed import find_installed, find_kubectl, find_pulumi
from toolchain.recipes import KUBERNETES_VERSION, WITH_OFFICIAL_PULUMI
from toolchain.venv import locked_version

pytestmark = pytest.mark.process

HOSTS = [name for name in WITH_OFFICIAL_PULUMI if name != "pulumi"]


@pytest.fixture
def install(tmp_path, monkeypatch):
    folder = tmp_path / "official"

    def make(version: str, hosts=HOSTS):
        executable(folder / "pulumi", f"#!/bin/sh\necho asked >> {folder}/asked\necho {version}\n")
        for host in hosts:
            executable(folder / host, "#!/bin/sh\n")
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    return make


@pytest.mark.parametrize("version", ["v3.272.0", "v3.300.1", "v4.0.0", "3.273.0"])
def test_one_that_fits_is_taken_whole(cache, install, version):
    folder = install(version)
    assert find_pulumi(cache) == {name: folder / name for name in WITH_OFFICIAL_PULUMI}


def test_it_is_asked_for_its_version_once(cache, install):
    folder = install("v3.272.0")
    find_pulumi(cache)
    find_pulumi(cache)
    assert (folder / "asked").read_text() == "asked\n"
    (folder / "pulumi").write_text("#!/bin/sh\necho v3.1.0 # upgraded, or rather not\n")
    assert find_pulumi(cache) == {}


def test_an_old_one_is_left_alone(cache, install, capsys):
    folder = install("v3.99.0")
    assert find_pulumi(cache) == {}
    assert f"{folder}/pulumi is not used: it is version 3.99, and 3.272 or newer is needed" in capsys.readouterr().err


def test_one_without_its_python_host_is_left_alone(cache, install, capsys):
    install("v3.272.0", hosts=HOSTS[:1])
    assert find_pulumi(cache) == {}
    assert f"{HOSTS[1]} is not beside it" in capsys.readouterr().err


def test_what_was_built_here_is_not_taken_for_official(cache, install, monkeypatch):
    """Else a second run inside make, with our bin on PATH, would drop the built one."""
    built = cache.programs / "pulumi-abc" / "bin"
    for name in WITH_OFFICIAL_PULUMI:
        executable(built / name, "#!/bin/sh\necho v3.274.1\n")
        cache.bin.mkdir(exist_ok=True)
        (cache.bin / name).symlink_to(built / name)
    monkeypatch.setenv("PATH", f"{cache.bin}:{built}:/usr/bin:/bin")
    assert find_pulumi(cache) == {}


def test_none_at_all(cache, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_pulumi(cache) == {}


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """`kubectl(minor)` puts a kubectl on PATH that is so many minor versions newer than the API server."""
    major, minor = map(int, KUBERNETES_VERSION.removeprefix("v").split(".")[:2])

    def make(newer: int):
        text = f"Client Version: v{major}.{minor + newer}.9\nKustomize Version: v5.8.0"
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return executable(tmp_path / "kubectl", f"#!/bin/sh\nprintf '{text}'\n")

    return make


@pytest.mark.parametrize("newer", [-1, 0, 1])
def test_a_kubectl_of_a_neighbouring_version_is_taken(cache, kubectl, newer):
    program = kubectl(newer)
    assert find_kubectl(cache) == {"kubectl": program}


@pytest.mark.parametrize("newer", [-2, 2])
def test_a_kubectl_too_far_from_the_api_server_is_left_alone(cache, kubectl, newer, capsys):
    program = kubectl(newer)
    assert find_kubectl(cache) == {}
    assert f"{program} is not used: it is version 1." in capsys.readouterr().err


@pytest.mark.parametrize(("offset", "partial", "taken"), [("", False, True), ("9", False, False), ("", True, False)])
def test_the_plugin_that_the_engine_would_take_is_taken(cache, tmp_path, monkeypatch, offset, partial, taken):
    """The engine wants the SDK's own version, and not one whose installation was interrupted."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    folder = tmp_path / "plugins" / f"resource-kubernetes-v{locked_version('pulumi-kubernetes')}{offset}"
    program = executable(folder / "pulumi-resource-kubernetes", "#!/bin/sh\n")
    if partial:
        folder.with_name(f"{folder.name}.partial").touch()
    assert find_installed(cache, {program.name}) == ({program.name: program} if taken else {})
