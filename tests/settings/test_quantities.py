"""Quantities print back as written, know their value, and refuse everything else."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from settings.quantities import ByteSize, Cpu, Duration, KubernetesSize, Percent, Quantity

TYPES = [ByteSize, KubernetesSize, Cpu, Duration, Percent]
NUMBERS = st.decimals(min_value=0, max_value=10**12 - 1, allow_nan=False, places=3).map(lambda number: f"{number:f}") | st.integers(
    0, 10**12 - 1
).map(str)


def quantities(kind: type[Quantity]) -> st.SearchStrategy[str]:
    return st.builds("".join, st.tuples(NUMBERS, st.sampled_from(sorted(kind.FACTOR))))


@pytest.mark.parametrize("kind", TYPES)
@given(st.data())
def test_prints_back_as_written(kind, data):
    text = data.draw(quantities(kind))
    adapter = TypeAdapter(kind)

    read = adapter.validate_python(text)

    assert read == text
    assert adapter.dump_python(read, mode="json") == text
    assert read.amount >= 0


@pytest.mark.parametrize("kind", TYPES)
@given(st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.booleans())
def test_anything_else_is_refused_and_nothing_else_raised(kind, garbage):
    try:
        read = TypeAdapter(kind).validate_python(garbage)
    except ValidationError:
        return
    assert kind.PATTERN.fullmatch(read)


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        (ByteSize("64Gi").bytes, 64 * 2**30),
        (ByteSize("64KB").bytes, 64 * 1024),
        (ByteSize("500M").bytes, 500_000_000),
        (ByteSize("1.5Ki").bytes, 1536),
        (ByteSize("7").bytes, 7),
        (KubernetesSize("128Gi").gib, 128),
        (Cpu("500m").cores, 0.5),
        (Cpu("16").cores, 16),
        (Duration("10ms").seconds, 0.01),
        (Duration("1h").seconds, 3600),
        (Duration("15d").seconds, 15 * 86400),
        (Percent("90%").fraction, 0.9),
        (Percent("90%").amount, Decimal("0.90")),
    ],
)
def test_value_in_base_units(quantity, amount):
    assert quantity == amount


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ByteSize, "64Gb"),
        (ByteSize, "-64Gi"),
        (ByteSize, "64 Gi"),
        (ByteSize, "64Gi\n"),
        (ByteSize, "٣Gi"),
        (ByteSize, "1e3"),
        (ByteSize, "9" * 13),
        (KubernetesSize, "64GB"),
        (KubernetesSize, "64GiB"),
        (Duration, "-5s"),
        (Duration, "ten"),
        (Duration, "5"),
        (Duration, ""),
        (Cpu, "16 cores"),
        (Percent, "90"),
    ],
)
def test_text_that_is_no_quantity_is_refused(kind, text):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)
