"""The differences between a process and its pod, flag by flag and address by address."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from engines.workload import ConfigFile, Env, MountedSecret, Port, Probe, SecretKey, Server
from serve.errors import ServeError
from serve.substitutions import RESOLVER, Around, Here, coordinator_command, shard_command
from tests.engines.envoy.certificates import authority, signed

HERE = Here(model=Path("/models/small.gguf"), host="127.0.1.1", port=4000, threads=1)
BASE = ("--model", "/data/m.gguf", "--host", "0.0.0.0", "--port", "8080")


def server(*arguments, env=(), content=""):
    probe = Probe(port="http", path="/health")
    files = (ConfigFile(name="envoy.yaml", content=content),) if content else ()
    return Server(
        image="x", command=("/app/program",), args=arguments, env=env, config_files=files, ports=(Port(name="http", number=8080),),
        startup=probe, liveness=probe, readiness=probe,
    )  # fmt: skip


def test_only_what_must_differ_does():
    made = shard_command(server(*BASE, "--metrics", "--cache-ram", "0", "--temp", "-1", "--no-slots"), HERE)
    expected = "llama-server --model /models/small.gguf --host 127.0.1.1 --port 4000 --metrics --cache-ram 0 --temp -1 --no-slots"
    assert " ".join(made.arguments) == expected
    assert [each.what for each in made.substitutions] == ["--model", "--host", "--port"]


@pytest.mark.parametrize(
    ("flag", "pod", "here"),
    [
        ("--n-gpu-layers", "all", "0"),
        ("-ngl", "99", "0"),
        ("--threads", "24", "1"),
        ("--threads-batch", "24", "1"),
        ("--alias", "llama-2-7b", "small"),
        ("--ctx-size", "209664", "16384"),
        ("--ctx-size", "4096", "4096"),
        ("--load-mode", "mmap+mlock", "mmap"),
        ("--load-mode", "mlock", "mmap"),
        ("--load-mode", "none", "none"),
    ],
)
def test_a_flag_s_value_here(flag, pod, here):
    made = shard_command(server(*BASE, flag, pod), HERE)
    assert made.arguments[-2:] == (flag, here)
    assert [each.what for each in made.substitutions[3:]] == ([flag] if pod != here else [])


def test_a_command_without_a_port_is_not_run():
    """It would listen where the engine's own default is, which may be someone else's."""
    with pytest.raises(ServeError, match="has no --port"):
        shard_command(server("--model", "m", "--host", "0.0.0.0"), HERE)


def test_a_pod_s_secrets_and_fields_are_not_made_up():
    secret = Env(name="TOKEN", secret_key=SecretKey(secret="s", key="k"))
    made = shard_command(server(*BASE, env=(Env(name="A", value="1"), secret, Env(name="IP", field_path="status.podIP"))), HERE)
    assert made.environment == {"A": "1"}
    assert [each.what for each in made.substitutions[3:]] == ["TOKEN", "IP"]


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def test_every_address_of_the_proxy_is_on_this_machine(tmp_path):
    resolver = {"name": RESOLVER, "typed_config": {"keep": 1}}
    content = yaml.safe_dump({"a": [address("0.0.0.0", 8080)], "b": {"c": address("leaders.svc", 8080), "d": resolver}, "keep": "0.0.0.0"})
    made, files = coordinator_command(server("-c", "/app/config/envoy.yaml", content=content), around(tmp_path, {"leaders.svc": 4000}))
    assert made.arguments == ("envoy", "-c", f"{tmp_path}/envoy.yaml")
    told = yaml.safe_load(files["envoy.yaml"])
    asks = resolver | {"typed_config": {"keep": 1, "resolvers": [address("127.0.0.1", 5353)]}}
    assert told == {"a": [address("127.0.0.1", 5000)], "b": {"c": address("leaders.svc", 4000), "d": asks}, "keep": "0.0.0.0"}


def test_an_address_that_does_not_exist_here_is_refused(tmp_path):
    """Else the local proxy would call somebody's network."""
    content = yaml.safe_dump([address("redis.example", 10000)])
    with pytest.raises(ServeError, match=r"does not exist on this machine: redis\.example:10000"):
        coordinator_command(server(content=content), around(tmp_path))


def around(folder, names=None, secrets=None):
    return Around(folder=folder, ports={8080: 5000}, names=names or {}, name_server=5353, secrets=secrets)


@pytest.mark.process
def test_a_secret_is_a_folder_that_is_given(tmp_path):
    mounted = {"tls": MountedSecret(secret="front-door", folder="/app/secrets/tls", keys=("tls.crt", "tls.key"))}
    asked = dataclasses.replace(server(content=yaml.safe_dump({"file": "/app/secrets/tls/tls.crt"})), secrets=mounted)
    with pytest.raises(
        ServeError, match=r"there are no Secrets on this machine: give --secrets FOLDER, with tls.crt, tls.key in FOLDER/front-door"
    ):
        coordinator_command(asked, around(tmp_path))
    (tmp_path / "front-door").mkdir()
    (tmp_path / "front-door" / "tls.crt").touch()
    with pytest.raises(ServeError, match=r"front-door has no tls.key"):
        coordinator_command(asked, around(tmp_path, secrets=tmp_path))
    (tmp_path / "front-door" / "tls.key").touch()
    with pytest.raises(ServeError, match=r"front-door/tls.crt is not a file that the coordinator can read"):
        coordinator_command(asked, around(tmp_path, secrets=tmp_path))
    signed(authority(tmp_path), tmp_path / "front-door", serial=1)
    made, files = coordinator_command(asked, around(tmp_path, secrets=tmp_path))
    assert yaml.safe_load(files["envoy.yaml"]) == {"file": f"{tmp_path}/front-door/tls.crt"}
    assert ("/app/secrets/tls", f"{tmp_path}/front-door") in {(each.pod, each.here) for each in made.substitutions}


def test_a_file_of_keys_that_is_no_json_stops_it(tmp_path):
    """Envoy would start, and answer every request with a 500 that says nothing."""
    mounted = {"keys": MountedSecret(secret="our-keys", folder="/app/secrets/keys", keys=("api-keys.json",))}
    (tmp_path / "our-keys").mkdir()
    (tmp_path / "our-keys" / "api-keys.json").write_text("{")
    with pytest.raises(ServeError, match=r"our-keys/api-keys.json is not a file that the coordinator can read"):
        coordinator_command(dataclasses.replace(server(content="{}"), secrets=mounted), around(tmp_path, secrets=tmp_path))
