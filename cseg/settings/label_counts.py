"""How many images are labelled: a number, a fraction of the training set, or all; as in paths."""

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

from cseg.errors import ConfigError

Count = int | float | str


def resolve_count(n: Count, train_size: int) -> int:
    """Return the number of images that `n` means for a training set of `train_size`.

    Fractions are rounded up, as in the published lists (2,975/30 -> 100, 10,582/16 -> 662).

    Raises:
        ConfigError: `n` is malformed, or more than there are.
    """
    value = _parse(n)
    if value is None:
        return train_size
    if isinstance(value, int):
        if value > train_size:
            raise ConfigError(
                f"label_counts: {n} is more than the {train_size} training images there are; "
                "lower it or write all"
            )
        return value
    return math.ceil(value * train_size)


def count_token(n: Count) -> str:
    """`n` as it stands in paths: 16 -> "16", "1/30" -> "1of30", 0.05 -> "0.05", "all".

    Raises:
        ConfigError: `n` is malformed.
    """
    value = _parse(n)
    if value is None:
        return "all"
    if isinstance(value, int):
        return str(value)
    if isinstance(n, str) and "/" in n:
        return n.replace(" ", "").replace("/", "of")
    return format(Decimal(str(n)).normalize(), "f")


def parse_token(token: str) -> Count:
    """Invert `count_token`: "16" -> 16, "1of30" -> "1/30", "0.05" -> 0.05, "all".

    Raises:
        ConfigError: `token` is malformed.
    """
    n = token.replace("of", "/")
    value = _parse(n)
    if value is None or "/" in n:
        return n
    return value if isinstance(value, int) else float(n)


def equal_counts(counts: Iterable[Count], train_size: int | None) -> tuple[Count, Count] | None:
    """The first two counts that mean as many images; None if there are none.

    If the size of the training set is not known (None), fractions of one value are found alone.

    Raises:
        ConfigError: a count is malformed, or more than there are.
    """
    known: dict[object, Count] = {}
    for n in counts:
        other = known.setdefault(resolve_count(n, train_size) if train_size else _parse(n), n)
        if other != n:
            return other, n
    return None


def _parse(n: Count) -> int | Fraction | None:
    """Return a number of images, a fraction in (0, 1), or None for all of them."""
    text = str(n).strip()
    if text == "all":
        return None
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    with suppress(ArithmeticError, ValueError):
        ratio = re.fullmatch(r"(\d+) */ *(\d+)", text)
        value = Fraction(*map(int, ratio.groups())) if ratio else Fraction(Decimal(text))
        if 0 < value < 1:
            return value
    raise ConfigError(
        f"label_counts: {n!r} is no count; write a whole number from 1, a fraction such as 1/30 "
        "or 0.05, all, or a name that label_lists defines"
    )
