"""What a server was told is found again in what was rendered, and only there."""

import dataclasses

import pytest

from engines import read_back
from engines.workload import ConfigFile, Env, Port, Probe, SecretKey, Server

FILE = """\
shard:
  config:
    workerThreads: 24
    compressed: true
model:
  name: '24'
sharding:
  rules:
  - key: range
    values:
    - 0-24
    - 25-49
  empty: []
"""
GIVEN = {
    "shard.config.workerThreads": "24",
    "shard.config.compressed": "true",
    "model.name": "24",
    "sharding.rules[0].key": "range",
    "sharding.rules[0].values": "[0-24, 25-49]",
    "sharding.empty": "[]",
    "sharding.nowhere": "1",
}


@pytest.fixture
def server():
    probe = Probe(port="http")
    return Server(
        image="registry.example/shard:1",
        config_files=(ConfigFile(name="shard.yaml", content=FILE),),
        env=(
            Env(name="GC_THREADS", value="8"),
            Env(name="TOKEN", secret_key=SecretKey(secret="hub", key="entry")),
            Env(name="IP", field_path="x"),
        ),
        ports=(Port(name="http", number=8080),),
        startup=probe,
        liveness=probe,
        readiness=dataclasses.replace(probe, failure_threshold=180),
        limits={"cpu": "5"},
    )


def test_each_key_of_a_file_is_told_with_its_line(server):
    told = {said.key: said for said in read_back.in_files(GIVEN, "shard", server)}
    assert {key: said.line for key, said in told.items()} == {
        "shard.config.workerThreads": 3,
        "shard.config.compressed": 4,
        "model.name": 6,
        "sharding.rules[0].key": 9,
        "sharding.rules[0].values": 10,
        "sharding.empty": 13,
    }
    assert all(said.holds == GIVEN[key] and said.outcome == "passed through" for key, said in told.items())
    assert told["sharding.rules[0].values"].field == ("config_files", "shard.yaml", "sharding", "rules", 0, "values")


def test_another_value_than_the_given_one_is_not_told(server):
    told = {said.key for said in read_back.in_files(GIVEN | {"shard.config.workerThreads": "23"}, "shard", server)}
    assert "shard.config.workerThreads" not in told and "shard.config.compressed" in told


def test_variables(server):
    given = {"shard.env.GC_THREADS": "8", "shard.env.TOKEN.valueFrom.secretKeyRef.name": "hub", "shard.env.GONE": "1", "shard.env.IP": "x"}
    told = {said.key: said.field for said in read_back.in_environment(given, "shard.env", "shard", server)}
    assert told == {
        "shard.env.GC_THREADS": ("env", "GC_THREADS", "value"),
        "shard.env.TOKEN.valueFrom.secretKeyRef.name": ("env", "TOKEN", "secret"),
    }


def test_a_field_and_an_empty_field(server):
    assert read_back.in_field("a", "shard", server, ("limits", "cpu")).holds == "5"
    assert read_back.in_field("a", "shard", server, ("readiness", "failure_threshold")).holds == "180"
    assert read_back.in_field("a", "shard", server, ("limits", "memory")).holds is None
    assert read_back.in_field("a", "shard", server, ("cache", "size")).holds is None


def test_a_field_that_no_server_has_is_a_mistake(server):
    with pytest.raises(AttributeError, match="liveliness"):
        read_back.in_field("a", "shard", server, ("liveliness", "failure_threshold"))


def test_a_key_that_another_follows_from(server):
    said = read_back.in_file("a", "shard", server, "shard.yaml", ("model", "name"))
    assert (said.holds, said.line) == ("24", 6)
    with pytest.raises(KeyError):
        read_back.in_file("a", "shard", server, "shard.yaml", ("model", "names"))
