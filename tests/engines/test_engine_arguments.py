"""`engineArguments`: agents need --enable-auto-tool-choice, and nothing could pass it on."""

import importlib

import pytest

from engines.flags import command_line
from planner import plan
from planner.rules.written_flags import WRITTEN
from settings import SettingsError
from tests.infra.variations import VARIATIONS, variation
from tests.planner.stacks import llama_cpp, settings, vllm


def line(planned):
    flags = importlib.import_module(f"engines.{planned.settings.engine}.command_line").flags
    return command_line(flags(planned.settings, planned))


@pytest.mark.parametrize("stack", [vllm, llama_cpp])
def test_arguments_follow_the_programs_own(stack):
    arguments = {"--enable-auto-tool-choice": True, "--tool-call-parser": "hermes", "--max-lora-rank": 32}
    words = line(plan(stack(engineArguments=arguments)))
    assert words[-5:] == ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--max-lora-rank", "32")


def problems(stack):
    with pytest.raises(SettingsError) as refused:
        plan(stack)
    return {problem.key: problem for problem in refused.value.problems}


def test_what_a_setting_decides_is_refused_with_its_name():
    found = problems(vllm(engineArguments={"--max-model-len": 100, "--port": 80, "--api-key": "x", "--enable-lora": False}))
    fixes = {key.rpartition(".")[2]: problem.fix for key, problem in found.items()}
    assert fixes["--max-model-len"] == "set coordinator.limits.requestTokens instead"
    assert fixes["--api-key"] == "set exposure.apiKeys instead"
    assert fixes["--port"] == "leave it out"
    assert "--no-enable-lora" in fixes["--enable-lora"]


def test_an_image_of_ones_own_is_started_without_arguments():
    assert "started without arguments" in problems(settings(engineArguments={"--verbose": True}))["engineArguments"].consequence


@pytest.mark.parametrize("engine", WRITTEN)
def test_every_flag_that_the_program_writes_is_in_the_list(engine):
    """A flag that comes twice would be another than `explain` says."""
    stacks = [made for made in map(variation, VARIATIONS) if made.engine == engine]
    written = {word for made in stacks for word in line(plan(made)) if word.startswith("--")}
    own = {flag for made in stacks for flag in made.engine_arguments}
    assert own and written - own <= set(WRITTEN[engine]) and not own & set(WRITTEN[engine])


def test_a_model_with_code_of_its_own_is_served_once_that_is_allowed():
    """kimi-k2 could not be started at all: its tokenizer is such code."""

    def stack(**more):
        return vllm(
            "Standard_ND96isr_H200_v5",
            model={"name": "kimi-k2", "quantization": {"precision": "fp8"}},
            sharding={"shardsCount": 2},
            shard={"resources": {side: {"nvidia.com/gpu": 8} for side in ("requests", "limits")}},
            **more,
        )

    assert "engineArguments: {--trust-remote-code: true}" in problems(stack())["model.name"].fix
    assert "--trust-remote-code" in line(plan(stack(engineArguments={"--trust-remote-code": True})))
