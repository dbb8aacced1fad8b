"""How numbers are written in tables, captions and figures: one place, one form each."""

import math
from collections.abc import Callable

from cseg.paper.statistics import ALPHA, Comparison


def points(fraction: float) -> str:
    """Write a fraction as percent with one digit: 0.6123 -> 61.2; a gap is an en dash."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def with_std(mean: float, std: float, write: Callable[[float], str] = points) -> str:
    """Mean ± std, in percent unless written otherwise; the mean alone if there is no deviation."""
    return write(mean) if math.isnan(std) else f"{write(mean)} ± {write(std)}"


def signed(fraction: float) -> str:
    """Write a difference in points, always with its sign: +3.1, −0.4."""
    if math.isnan(fraction):
        return "–"
    text = f"{100 * abs(fraction):.1f}"
    return text if text == "0.0" else ("+" if fraction > 0 else "−") + text


def interval(each: Comparison) -> str:
    """Write the interval of a difference in points: "95 % interval 1.9 to 6.9"."""
    if not each.test:
        return "no interval"
    share = f"{100 * (1 - ALPHA):.0f} % interval"
    return f"{share} {signed(each.low).lstrip('+')} to {signed(each.high).lstrip('+')}"


def seconds(value: float) -> str:
    """Seconds with three significant digits below 100, whole ones above."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def listing(names: list[str] | tuple[str, ...]) -> str:
    """List names as prose: a; a and b; a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(count: int, word: str) -> str:
    """1 run, 2 runs."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def short_id(image_id: str, most: int = 18) -> str:
    """Shorten a long image id in its middle, since its ends tell images apart."""
    keep = (most - 1) // 2
    return image_id if len(image_id) <= most else f"{image_id[:keep]}…{image_id[-keep:]}"


def bracketed(each: Comparison | None) -> str:
    """Write a difference in points with its interval: "+4.4 [1.9, 6.9]"."""
    if each is None:
        return "–"
    ends = f" [{signed(each.low).lstrip('+')}, {signed(each.high).lstrip('+')}]"
    return signed(each.difference) + (ends if each.test else "")
