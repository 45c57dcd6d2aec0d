"""The measured times of a GPU's operations are times that this GPU's memory and tensor cores allow."""

import csv
import itertools

import pytest

from planner.catalogue import hardware
from settings.files import ROOT

WEIGHT_BYTES = {"bf16": 2, "fp8": 1, "int8": 1, "int4": 0.5}


def rows(name: str) -> list[dict[str, str]]:
    with open(ROOT / "planner" / "performance" / "data" / f"{name}_nvidia_h200_vllm.csv", newline="") as file:
        return list(csv.DictReader(file))


PRODUCTS = [row for row in rows("operations") if row["operation"] == "product"]


@pytest.mark.parametrize("precision", WEIGHT_BYTES)
def test_no_product_is_faster_than_the_data_sheet_and_none_is_a_tenth_of_it(precision):
    h200 = hardware.gpu("H200-141GB-SXM")
    assert h200
    peak = h200.dense_tflops["bf16" if precision == "int4" else precision]
    floors, measured = [], []
    for row in (row for row in PRODUCTS if row["precision"] == precision):
        weights = int(row["rows"]) * int(row["columns"])
        floors.append(max(weights * WEIGHT_BYTES[precision] / h200.bandwidth_gb_s / 1e3, 2 * weights * int(row["tokens"]) / peak / 1e6))
        measured.append(float(row["us"]))
    assert len(measured) >= 400
    assert all(us >= floor for us, floor in zip(measured, floors, strict=True))
    # Those long enough for their start not to count.
    assert all(us < 10 * floor for us, floor in zip(measured, floors, strict=True) if floor > 20)


def test_a_larger_message_takes_no_less_time():
    times = [float(row["us"]) for row in sorted(rows("all_reduce"), key=lambda row: int(row["bytes"]))]
    assert all(later > 0.9 * earlier for earlier, later in itertools.pairwise(times))
