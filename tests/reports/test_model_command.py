"""`python -m planner model`: what it prints can be pasted, and planned."""

import json

import pytest
import yaml

from planner import plan
from planner.__main__ import main
from planner.catalogue import model_shapes
from tests.planner.stacks import settings

CONFIG = model_shapes.configs()["gpt-oss-120b"]["config"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "gpt-oss-120b"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    return made


def test_what_is_printed_is_planned_as_it_is(folder, capsys):
    """Described by its shape alone, gpt-oss-120b was a dense model: 117 GB read for each token, and two nodes with eight H100 each."""
    assert main(["model", str(folder)]) == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["name"] == "gpt-oss-120b" and model["shape"]["checkpoint"]["precision"] == "mxfp4"
    made = plan(
        settings(
            engine="vllm",
            model=model,
            gpuPool={"vmSize": "Standard_NC40ads_H100_v5"},
            sharding={"shardsCount": 1},
            caching={"l1Cache": {"enabled": False}},
        )
    )
    assert made.pod.gpus == 1 and made.shape.active_params_b < 6
    assert made.memory.memory.weights_gib == pytest.approx(65.25e9 / 2**30, rel=0.01)
    assert made.weights.gib == pytest.approx(65.25e9 / 2**30, rel=0.01)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("hf://openai/gpt-oss-120b@main", "names a branch or tag"),
        ("nowhere/config.json", "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(argument, said, capsys):
    assert main(["model", argument]) == 1
    assert said in capsys.readouterr().err


def test_an_architecture_that_is_not_known_has_no_shape(folder, capsys):
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "kimi_linear"}))
    assert main(["model", str(folder / "config.json")]) == 1
    printed = capsys.readouterr()
    assert not printed.out and "'kimi_linear'" in printed.err


def test_modelopt_s_file_beside_the_config_is_read(folder, capsys):
    config = {name: value for name, value in CONFIG.items() if name != "quantization_config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}))
    assert main(["model", str(folder)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["quantization"] == {"precision": "nvfp4"}
