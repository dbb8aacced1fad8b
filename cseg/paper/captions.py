"""Sentences for captions, computed from the data: seeds, tests, what is missing, terms."""

from collections.abc import Iterable

from cseg.paper.results import RESAMPLES, Results
from cseg.paper.statistics import ALPHA, BOOTSTRAP, MIN_SEEDS, PAIRED_T, Comparison
from cseg.paper.wording import listing, plural, points


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
    made = [each for each in comparisons if each.test]
    used = {each.test for each in made}
    if not used:
        return (
            f"No test of significance could be made: it needs {MIN_SEEDS} seeds, or per_image.csv."
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
