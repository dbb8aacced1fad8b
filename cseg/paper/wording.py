"""How numbers and the sentences of captions are written: one place, one form each."""

import math
from collections.abc import Callable, Iterable, Sequence

from cseg.paper.results import RESAMPLES, Results
from cseg.paper.statistics import (
    ALPHA,
    BOOTSTRAP,
    MIN_IMAGES,
    MIN_SEEDS,
    PAIRED_T,
    Comparison,
)
from cseg.storage.tables import rounded


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
    return "–" if math.isnan(value) else rounded(value, 3)


def listing(names: Sequence[str], most: int = 0) -> str:
    """List names as prose: a; a and b; a, b and c; "and 2 more" if only so many are named."""
    if most and len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
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


def runs_note(results: Results) -> str:
    """How many seeds, and which share of the grid of arms, label counts and seeds has run."""
    note = f"{plural(results.seeds, 'seed')} per cell"
    if results.gap:
        note += (
            f"; {results.gap}: cells with fewer seeds say so, an en dash marks a cell without a run"
        )
    return note + "."


def tests_note(comparisons: Iterable[Comparison]) -> str:
    """Name the tests that were really made, and their correction."""
    compared = list(comparisons)
    if not compared:
        return ""
    made = [each for each in compared if each.test]
    used = {each.test for each in made}
    if not used:
        return (
            f"No test of significance could be made: it needs {MIN_SEEDS} seeds, or per_image.csv "
            f"with {MIN_IMAGES} images."
        )
    parts = []
    if PAIRED_T in used:
        parts.append(f"Test: {PAIRED_T} (two-sided)")
    if BOOTSTRAP in used:
        few = f"If two arms share fewer than {MIN_SEEDS} seeds: " if PAIRED_T in used else "Test: "
        parts.append(
            f"{few}{BOOTSTRAP} ({RESAMPLES} resamples), which says nothing about other seeds"
        )
    many = f" for {len(made)} comparisons (Holm)" if len(made) > 1 else ""
    parts.append(f"Significant: p < {ALPHA} after correction{many}; intervals agree with it")
    return ". ".join(parts) + "."


def spread_note(results: Results) -> str:
    """How much of the spread the labelled subset makes, and how much the initial weights."""
    subset, weights = results.split_spread(results.mious)
    if not subset >= 0:
        return ""
    return (
        f"Spread of the seeds (standard deviation, over all arms and label counts): "
        f"{points(subset)} points from which images are labelled, {points(weights)} from initial "
        "weights and order of training."
    )


def full_set_note(results: Results) -> str:
    """Which label count is the whole training set, if one is."""
    size = results.train_size
    if size in results.label_counts:
        return f"n = {size} is the whole training set."
    return f"The whole training set has {size} images." if size else ""


def settings_note(results: Results) -> str:
    """Budget, protocol, model choice and encoder of the runs."""
    text = "; ".join(
        f"{column.replace('_', ' ')} {listing(values)}"
        for column in ("encoder", "budget", "protocol", "model_choice")
        if (values := results.values(column))
    )
    return text[:1].upper() + text[1:] + "." if text else ""


def terms_note(results: Results) -> str:
    """Citation and licence of the images."""
    terms = {
        title: str(results.info.get(key, "")).strip().rstrip(".")
        for title, key in (("Data", "citation"), ("Licence", "licence"))
    }
    return " ".join(f"{title}: {text}." for title, text in terms.items() if text)


def join(*sentences: str) -> str:
    """Join the sentences that are not empty."""
    return " ".join(sentence for sentence in sentences if sentence)
