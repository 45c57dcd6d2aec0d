"""Values with units, as they are written in YAML and in Kubernetes manifests.

Each type is a `str` that prints exactly as it was written and knows its value in base units, so that rendering never changes what the user
wrote and arithmetic never parses text twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

# Twelve digits are enough for a pebibyte in bytes or 30,000 years in seconds; more are a typing error.
_NUMBER = r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)"


def problem_error(consequence: str, fix: str) -> PydanticCustomError:
    """Returns a validation error that carries a consequence and a fix, as `Problem` has them."""
    # The texts are passed as context, so that braces in a user's value are not taken for placeholders.
    return PydanticCustomError("problem", "{consequence}; {fix}", {"consequence": consequence, "fix": fix})


class Quantity(str):
    """A number with a unit. `expected` is what error messages ask the user to write."""

    __slots__ = ()
    FACTOR: ClassVar[dict[str, Decimal]]
    """Value of each unit in base units. The empty unit stands for a number without a unit."""
    NEAR: ClassVar[dict[str, str]]
    """The most likely unit for an unknown one, by its first letter in lower case."""
    PATTERN: ClassVar[re.Pattern[str]]
    noun: ClassVar[str]
    expected: ClassVar[str]

    def __init_subclass__(cls) -> None:
        units = "|".join(sorted(filter(None, cls.FACTOR), key=len, reverse=True))
        cls.PATTERN = re.compile(f"{_NUMBER}(?P<unit>{units}){'?' if '' in cls.FACTOR else ''}")

    @classmethod
    def _parse(cls, text: str) -> Quantity:
        if not cls.PATTERN.fullmatch(text):
            raise problem_error(f"is not {cls.noun}", cls._likely(text) or cls.expected)
        return cls(text)

    @classmethod
    def _likely(cls, text: str) -> str | None:
        match = re.fullmatch(rf"\s*{_NUMBER}\s*(?P<unit>[A-Za-z%]+)\s*", text)
        if not match:
            return None
        unit = match["unit"] if match["unit"] in cls.FACTOR else cls.NEAR.get(match["unit"][0].lower())
        return unit and f'did you mean "{match["number"]}{unit}"?'

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls._parse, core_schema.str_schema(strict=True))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Editors' patterns are ECMAScript's, which spell named groups differently.
        pattern = re.sub(r"\?P<\w+>", "?:", cls.PATTERN.pattern)
        return {"type": "string", "pattern": f"^{pattern}$", "examples": re.findall(r'"([^"]+)"', cls.expected)}

    @property
    def amount(self) -> Decimal:
        """The exact value in base units."""
        return _amount(type(self), str(self))


@cache
def _amount(kind: type[Quantity], text: str) -> Decimal:
    match = kind.PATTERN.fullmatch(text)
    assert match, f"{text!r} was built without validation"
    return Decimal(match["number"]) * kind.FACTOR[match["unit"] or ""]


class ByteSize(Quantity):
    """A size in bytes: a Kubernetes quantity (`64Gi`, `500M`) or the guide's `64KB`."""

    __slots__ = ()
    # KB, MB and GB are powers of 1024, as is usual for buffers; Kubernetes' own k, M and G are decimal.
    FACTOR: ClassVar[dict[str, Decimal]] = {unit: Decimal(1000) ** power for power, unit in enumerate(["", "k", "M", "G", "T", "P"])} | {
        unit: Decimal(1024) ** power
        for power, units in enumerate(["Ki KB KiB", "Mi MB MiB", "Gi GB GiB", "Ti TB TiB", "Pi PB PiB"], 1)
        for unit in units.split()
    }
    NEAR: ClassVar[dict[str, str]] = {"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti", "p": "Pi"}
    noun = "a size in bytes, so the server could not read it"
    expected = 'a size such as "64Gi", "512Mi" or "64KB"'

    @property
    def bytes(self) -> int:
        """The size in bytes."""
        return int(self.amount)

    @property
    def gib(self) -> float:
        """The size in GiB (2^30 bytes)."""
        return self.bytes / 2**30


class KubernetesSize(ByteSize):
    """A size that Kubernetes reads, such as that of memory or a volume; it must not use KB, MB or GB."""

    __slots__ = ()
    FACTOR: ClassVar[dict[str, Decimal]] = {unit: factor for unit, factor in ByteSize.FACTOR.items() if not unit.endswith("B")}
    noun = "a Kubernetes quantity, so Kubernetes would refuse it"
    expected = 'a size such as "64Gi" or "512Mi"'


class Cpu(Quantity):
    """CPU cores: `16`, `0.5` or `500m`."""

    __slots__ = ()
    FACTOR: ClassVar[dict[str, Decimal]] = {"": Decimal(1), "m": Decimal("0.001")}
    NEAR: ClassVar[dict[str, str]] = {"c": "", "v": "", "m": "m"}
    noun = "a number of CPUs, so Kubernetes would refuse it"
    expected = 'CPUs in quotes such as "16" or "500m"'

    @property
    def cores(self) -> float:
        """The number of CPU cores."""
        return float(self.amount)


class Duration(Quantity):
    """A duration: `10ms`, `5s`, `1h`."""

    __slots__ = ()
    FACTOR: ClassVar[dict[str, Decimal]] = {
        "ms": Decimal("0.001"),
        "s": Decimal(1),
        "m": Decimal(60),
        "h": Decimal(3600),
        "d": Decimal(86400),
    }
    NEAR: ClassVar[dict[str, str]] = {"m": "m", "s": "s", "h": "h", "d": "d"}
    noun = "a duration, so it is unclear how long is meant"
    expected = 'a duration such as "10ms", "5s" or "1h"'

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return float(self.amount)


class Percent(Quantity):
    """A share of a whole: `90%`."""

    __slots__ = ()
    FACTOR: ClassVar[dict[str, Decimal]] = {"%": Decimal("0.01")}
    NEAR: ClassVar[dict[str, str]] = {"p": "%"}
    noun = "a percentage from 0% to 100%"
    expected = 'a percentage such as "90%"'

    @property
    def fraction(self) -> float:
        """The share from 0 to 1."""
        return float(self.amount)


@dataclass(frozen=True)
class Between:
    """The bounds of a quantity, both included, and the consequence of a value outside them."""

    low: str
    high: str
    otherwise: str

    def __get_pydantic_core_schema__(self, source: type[Quantity], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        low, high = source(self.low).amount, source(self.high).amount

        def check(quantity: Quantity) -> Quantity:
            if not low <= quantity.amount <= high:
                raise problem_error(f"is out of range: {self.otherwise}", f'from "{self.low}" to "{self.high}"')
            return quantity

        return core_schema.no_info_after_validator_function(check, handler(source))
