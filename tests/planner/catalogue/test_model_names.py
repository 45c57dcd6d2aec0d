"""A name that invites a mistake: a suggestion is never another model, and a source of another model is refused."""

import pytest

from planner import plan
from planner.catalogue import model_names, model_shapes
from settings import SettingsError
from tests.planner.stacks import settings, vllm

KNOWN = model_shapes.models()
COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("llama3.1-8b", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Llama_3.1_8B_FP8", "llama-3.1-8b"),
        ("qwen3-4b", None),
        ("deepseek-v3.1", None),
        ("llama-2-70", None),
        ("Qwen2.5-Coder-32B", None),
        ("kimi-k2-thinking", None),
    ],
)
def test_only_the_same_model_is_meant(name, same):
    assert model_names.spelt(name, KNOWN) == same
    assert ("did you mean" in model_names.suggestion(name, KNOWN)) is (same is not None)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("qwen3-4b", "the catalogue has qwen3-14b, qwen3-8b, "),
        ("deepseek-v3.1", "the catalogue has deepseek-v3.2, deepseek-v3, deepseek-r1; for another"),
    ],
)
def test_an_unknown_model_is_told_its_relatives_and_to_give_its_shape(name, listed):
    """Followed, "did you mean qwen3-14b?" planned another model."""
    with pytest.raises(SettingsError) as refused:
        plan(settings(model={"name": name}))
    [problem] = refused.value.problems
    assert problem.fix.startswith(listed) and "model.shape" in problem.fix


def fetched(name, repository, **model):
    return vllm(
        "Standard_NC96ads_A100_v4", model={"name": name, "source": f"hf://{repository}@{COMMIT}", **model}, sharding={"shardsCount": 4}
    )


@pytest.mark.parametrize(
    ("name", "repository", "fix"),
    [
        ("llama-3.1-8b", "Qwen/Qwen3-14B", "model.name: qwen3-14b, or"),
        ("llama-3-8b", "meta-llama/Llama-3.1-8B-Instruct", "model.name: llama-3.1-8b, or"),
        ("qwen3-32b", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "model.name: qwen3-30b-a3b, or"),
        ("qwen3-14b", "Qwen/Qwen3-4B", "model.shape, as the catalogue lacks it"),
        ("llama-3-8b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "model.shape, as the catalogue lacks it"),
    ],
)
def test_a_source_of_another_model_is_refused(name, repository, fix):
    with pytest.raises(SettingsError) as refused:
        plan(fetched(name, repository))
    [problem] = refused.value.problems
    assert problem.key == "model.name" and repository in problem.consequence and fix in problem.fix


@pytest.mark.parametrize(
    ("name", "repository", "noted"),
    [
        ("llama-3.1-8b", "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", False),
        ("llama-3.1-8b", "NousResearch/Hermes-3-Llama-3.1-8B", False),
        ("qwen3-8b", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", False),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-Instruct-v0.1", False),
        ("llama-3.3-70b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", True),
        ("llama-3.1-8b", "ours/support-assistant", True),
    ],
)
def test_a_name_that_says_nothing_is_noted_and_the_right_one_is_not(name, repository, noted):
    found = [finding for finding in plan(fetched(name, repository)).findings if finding.code == "WEIGHTS-006"]
    assert bool(found) is noted


def test_a_shape_of_ones_own_is_believed():
    shape = {"paramsB": 4, "layers": 36, "hidden": 2560, "heads": 32, "kvHeads": 8, "intermediate": 9728, "vocab": 151936, "context": 40960}
    made = plan(fetched("qwen3-14b", "Qwen/Qwen3-4B", shape=shape))
    assert not [finding for finding in made.findings if finding.code == "WEIGHTS-006"]
