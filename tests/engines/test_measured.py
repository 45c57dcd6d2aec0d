"""What `explain` says of a setting that a GPU benchmark changed by itself, for each engine that was measured."""

import json

import pytest

from engines import ENGINES, ablations
from infra.endpoints import endpoints
from planner import plan as make_plan
from planner.engine_facts.vllm import RELEASE
from settings import files
from settings.files import ROOT
from settings.flatten import with_values

SIZES = {"llama_cpp": "Standard_NC48ads_A100_v4", "vllm": "Standard_ND96isr_H100_v5"}


def effects(engine, size):
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    plan = make_plan(with_values(prod, {("engine",): engine, ("gpuPool", "vmSize"): size}))
    return ENGINES[engine].render(plan.settings, plan, endpoints(plan, registry="registry.example", redis=None)).effects


def ablation(engine):
    return {row["arm"]: row for row in json.loads((ROOT / ablations.SOURCES[engine]).read_text())["ablation"]}


ARMS = {engine: ablation(engine) for engine in SIZES}
CHANGED = [(engine, *arm.partition(": ")[::2]) for engine, arms in ARMS.items() for arm in arms if ": " in arm]


def repeats(engine):
    return [ARMS[engine][name] for name in ablations.REPEATS]


@pytest.mark.parametrize(("engine", "key", "value"), CHANGED)
def test_what_was_measured_of_a_setting_is_said_with_its_figures(engine, key, value):
    row, rates = ARMS[engine][f"{key}: {value}"], [one["requests_s"] for one in repeats(engine)]
    memory = sum(one["memory_mib"] for one in repeats(engine)) / 2
    found = [effect for effect in effects(engine, SIZES[engine]) if effect.key == key]
    assert found, f"{key} is no setting that the engine answers"
    [because] = [effect.because for effect in found if effect.source.endswith(ablations.SOURCES[engine])]
    assert f"{value}, " in because
    assert f"gives {row['requests_s']:.1f} requests/s instead of {sum(rates) / 2:.1f}" in because
    assert ("(up to" in because) == (row["in_flight"] > 1.05 * row["concurrency"])
    assert ("noise" in because) == (abs(row["requests_s"] * 2 / sum(rates) - 1) < ablations.noise(repeats(engine)))
    assert ("MiB" in because) == (abs(row["memory_mib"] - memory) > 100)
    assert "MiB" not in because or f"{row['memory_mib'] - memory:+,.0f} MiB" in because


@pytest.mark.parametrize("engine", SIZES)
def test_what_is_called_noise_is_no_less_than_a_repeat_differs(engine):
    low, high = sorted(row["requests_s"] for row in repeats(engine))
    assert 0 < 2 * (high - low) / (high + low) <= ablations.noise(repeats(engine))
    assert ablations.noise([{"requests_s": 10}, {"requests_s": 10}]) == ablations.NOISE


@pytest.mark.parametrize("engine", SIZES)
def test_of_settings_that_were_not_measured_no_figure_is_said(engine):
    keys = {key for one, key, _ in CHANGED if one == engine}
    assert {one.key for one in effects(engine, SIZES[engine]) if "measured (" in one.because} == keys


def test_a_release_that_was_not_measured_says_so():
    measured = [one for one in effects("vllm", SIZES["vllm"]) if "measured (" in one.because]
    assert measured and all(f" in place of {RELEASE} on one " in one.because for one in measured)
    assert not [one for one in effects("vllm", "Standard_NC24s_v3") if "measured (" in one.because]


def test_of_an_engine_without_measurements_it_is_said_once():
    of_zig_ai = effects("zig_ai", "Standard_NC24s_v3")
    assert [one.key for one in of_zig_ai if "nothing of it was measured" in one.because] == ["engine"]
    assert not [one for one in of_zig_ai if "measured (" in one.because]
