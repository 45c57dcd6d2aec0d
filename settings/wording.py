"""Words and figures as all reports spell them."""


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: `1 shard`, `1,024 shards`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figure(value: float) -> str:
    """Returns a value with three significant digits and without an exponent: `0.148`, `57.9`, `8,610`."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"
