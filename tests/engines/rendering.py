"""What the tests of all engines behind the proxy ask of a rendered workload."""

import subprocess

import yaml

from infra import reading
from infra.kubernetes import pods
from settings.flatten import leaves, text_of
from tests.engines.envoy.proxy import environment_program


def following(server, flag):
    return server.args[server.args.index(flag) + 1]


def manifest(server):
    """The container of a server as Kubernetes has it, with what an engine's effects name beside it."""
    return pods.container("server", server, "config") | {
        "config_files": [{"name": file.name, **yaml.load(file.content, Loader=yaml.CSafeLoader)} for file in server.config_files],
        "secrets": [{"name": volume, "secret": mounted.secret} for volume, mounted in server.secrets.items()],
        "cache": {"size": server.cache.size, "persistent": server.cache.persistent} if server.cache else {},
    }


def value_at(workload, effect):
    """What the effect's place holds, as text; None when there is nothing."""
    value = reading.at(manifest(workload.server(effect.place.kind)), effect.place.path)
    return None if value is reading.MISSING else text_of(value)


def assert_each_setting_has_an_effect(workload, plan):
    """But for those that the planner or Kubernetes has: `reports.outcomes` refuses a setting that is nowhere (tests/stacks)."""
    keys = {effect.key for effect in workload.effects}
    for key in leaves(plan.settings):
        elsewhere = key.startswith(("model.shape", "model.source", "caching.l2Cache"))
        if key.split(".")[0] in ("model", "caching") and not elsewhere and not switched_off(key, plan.settings):
            assert key in keys, key
        if key.startswith(("shard.config", "shard.env", "shard.resources", "coordinator.config", "coordinator.limits", "sharding.l")):
            assert key in keys, key
    assert all(effect.because and effect.source for effect in workload.effects if effect.outcome in ("not supported", "translated"))


def switched_off(key, settings):
    given = leaves(settings)
    return any(
        given.get(f"{key.rsplit('.', depth)[0]}.enabled") == "false" for depth in range(1, key.count(".")) if not key.endswith("enabled")
    )


def assert_envoy_takes(workload, folder):
    """The rendered file as it is, with folders of this machine in it and empty files for Secrets."""
    folders = {workload.coordinator.config_dir: folder}
    for name, mounted in workload.coordinator.secrets.items():
        folders[mounted.folder] = folder / name
        (folder / name).mkdir()
        for key in mounted.keys:
            (folder / name / key).touch()
    for one in workload.coordinator.config_files:
        content = one.content
        for there, here in folders.items():
            content = content.replace(there, str(here))
        (folder / one.name).write_text(content)
    args = [str(folder / "envoy.yaml") if argument.endswith("envoy.yaml") else argument for argument in workload.coordinator.args]
    checked = subprocess.run([environment_program("envoy"), "--mode", "validate", *args], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "eprecated" not in checked.stderr
