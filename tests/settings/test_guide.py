"""Every YAML block of the guide pastes as it stands, and every leaf prints back as it was written."""

import json
import re
import textwrap

import pytest

from settings import load
from settings.files import PROJECT, ROOT
from settings.loading import check
from settings.stack_file import open_stack_file
from tests.settings.guide_blocks import BLOCKS, content, leaves


def test_all_blocks_are_here():
    assert len(BLOCKS) == 19


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.stem)
def test_block_pastes_below_config(block, tmp_path):
    pasted = re.sub(r"(?m)^([a-z]\w*):$", rf"{PROJECT}:\1:", block.read_text())
    file = tmp_path / "Pulumi.pasted.yaml"
    file.write_text("config:\n" + textwrap.indent(pasted, "  "))

    read = open_stack_file(file, PROJECT)

    assert read.problems == ()
    assert {name: json.loads(text) for name, text in read.sections.items()} == content(block)
    assert check(read.sections).problems == ()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.stem)
def test_block_prints_back_as_written(block):
    written = content(block)

    settings = load({name: json.dumps(section) for name, section in written.items()})

    printed = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert leaves(printed) == leaves(written)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.stem)
def test_prod_has_the_block(block):
    """The blocks of one section are merged by hand; nothing may be lost on the way."""
    read = open_stack_file(ROOT / "Pulumi.prod.yaml", PROJECT)
    prod = leaves({name: json.loads(text) for name, text in read.sections.items()})

    missing = {place: leaf for place, leaf in leaves(content(block)).items() if prod.get(place) != leaf}

    assert not missing


def test_prod_follows_the_guides_order():
    """Keys of the file appear in the order in which the guide first has them."""
    read = open_stack_file(ROOT / "Pulumi.prod.yaml", PROJECT)
    guide = list(dict.fromkeys(name for block in BLOCKS for name in content(block) if name != "profiling"))
    assert [name for name in read.sections if name in guide] == guide
    prod_env = [item["name"] for item in json.loads(read.sections["shard"])["env"]]
    assert prod_env == [item["name"] for block in BLOCKS for item in content(block).get("shard", {}).get("env", [])]
