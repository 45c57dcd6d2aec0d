"""Every GPU and model of the catalogue as the performance model sees it."""

import pytest

from planner.catalogue import hardware, mig, model_shapes
from planner.fit import estimate_question
from planner.performance import gpu_cards, model_inputs, published_rows
from tests.planner.performance.asking import ROWS


def test_a_latent_vector_is_attended_to_by_its_wider_heads():
    """DeepSeek-V3: 61 layers, 128 heads of 192 for queries and keys and of 128 for values; 2 FLOP a multiplication and addition."""
    row = next(r for r in ROWS if r["model"] == "DeepSeek-R1")
    assert model_inputs.model_inputs(published_rows.question(row)).attention_flops == 61 * 128 * (192 + 128) * 2


def test_what_is_no_expert_of_a_sparse_model_is_its_attention_at_least():
    """gpt-oss-120b: 0.96 billion of 117 in attention (its model card); the two tables of 0.58 are no part of it."""
    row = next(r for r in ROWS if r["model"] == "gpt-oss-120b" and r["layers"])
    dense = model_inputs.model_inputs(published_rows.question(row)).dense_flops / 2
    assert dense == pytest.approx(0.96e9, rel=0.05)


def test_every_gpu_and_model_of_the_catalogue_is_known():
    for name in hardware.gpu_names():
        assert gpu_cards.gpu_of(hardware.gpu(name)).bandwidth == hardware.gpu(name).bandwidth_gb_s * 1e9
    for shape in model_shapes.models().values():
        made = estimate_question.architecture(shape)
        assert 0 < made.active_params <= made.params


def test_the_plan_and_the_fit_read_one_table_of_gpus():
    """Each had a table of its own: memories that differed by 1.4 %, a V100 of 150 GB/s to its neighbours where Azure's has PCIe's 16."""
    names = {card.name for cards in hardware.cards().values() for card in cards}
    assert set(hardware.gpu_names()) < names and len(names) == 20
    for name in hardware.gpu_names():
        own = hardware.gpu(name)
        assert own.name in {card.name for card in hardware.cards()[own.family]}
        if name != "V100":
            # Published rows that name no more than a V100 ran on the SXM2 card.
            assert gpu_cards.gpu_named(name) == gpu_cards.gpu_of(own), name
    assert gpu_cards.gpu_of(hardware.gpu("V100")) == gpu_cards.gpu_named("V100-PCIe-16GB")
    assert gpu_cards.gpu_named("V100-SXM2-16GB").link == 150e9


def test_a_slice_of_a_gpu_is_slower_in_every_precision():
    """Peaks that only the fit's own table had were not divided: 16 bits of a GB200, FP8 of an H100 NVL."""
    for name in ("GB200-192GB", "H100-NVL-94GB"):
        whole = hardware.gpu(name)
        _, part = mig.cut(hardware.gpu_size("Standard_NC40ads_H100_v5", "eastus"), whole, "MIG3g")
        peaks, halves = (gpu_cards.gpu_of(one).peaks for one in (whole, part))
        assert halves == {precision: peak / 2 for precision, peak in peaks.items()} and "fp8" in halves
