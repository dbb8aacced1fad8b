"""Captions, computed from the data they stand under: seeds, tests, what is missing, terms."""

from collections.abc import Iterable

from cseg.paper.results import RESAMPLES, Results
from cseg.paper.statistics import ALPHA, BOOTSTRAP, PAIRED_T, Comparison
from cseg.paper.wording import listing, plural


def runs_note(results: Results) -> str:
    """How many seeds, and which share of the grid of arms, label counts and seeds has run."""
    seeds = results.summary["seed"].nunique()
    expected = len(results.arms) * len(results.label_counts) * seeds
    done = sum(len(cell) for cell in results.mious.values())
    note = f"{plural(seeds, 'seed')} per cell"
    if done < expected:
        note += (
            f"; {done} of {expected} combinations of arm, n and seed have run: "
            "cells with fewer seeds say so, an en dash marks a cell without a run"
        )
    return note + "."


def tests_note(comparisons: Iterable[Comparison]) -> str:
    """Names the tests that were really made, and what they cannot tell."""
    made = list(comparisons)
    used = {each.test for each in made if each.test}
    if not used:
        return "No test of significance could be made."
    parts = []
    if PAIRED_T in used:
        least = min(each.runs for each in made if each.test == PAIRED_T)
        parts.append(f"Test: {PAIRED_T} (two-sided)")
        if least == 2:
            parts[-1] += (
                "; over 2 seeds it has one degree of freedom and finds only very regular "
                "differences"
            )
    if BOOTSTRAP in used:
        where = "Where two arms share one seed: " if PAIRED_T in used else "Test: "
        parts.append(
            f"{where}{BOOTSTRAP} ({RESAMPLES} resamples), which says nothing about other seeds"
        )
    parts.append(f"Threshold p < {ALPHA}, not corrected for the number of comparisons")
    return ". ".join(parts) + "."


def full_set_note(results: Results) -> str:
    """Which label count is the whole training set, if one is."""
    size = full_size(results)
    if size in results.label_counts:
        return f"n = {size} is the whole training set."
    return f"The whole training set has {size} images." if size else ""


def full_size(results: Results) -> int | None:
    """Return the number of images of the whole training set, where the results say it."""
    if "n_train" in results.summary and results.summary["n_train"].notna().any():
        return int(results.summary["n_train"].dropna().max())
    size = results.info.get("train_size")
    return int(size) if size else None


def settings_note(results: Results) -> str:
    """Budget, protocol, model choice and encoder, where all runs agree on them."""
    parts = []
    for column in ("encoder", "budget", "protocol", "model_choice"):
        if column in results.summary:
            values = sorted(str(v) for v in results.summary[column].dropna().unique())
            if values:
                parts.append(f"{column.replace('_', ' ')} {listing(values)}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def terms_note(results: Results) -> str:
    """Citation and licence of the images."""
    citation = str(results.info.get("citation", "")).strip().rstrip(".")
    licence = str(results.info.get("licence", "")).strip().rstrip(".")
    parts = [f"Data: {citation}" if citation else "", f"Licence: {licence}" if licence else ""]
    return " ".join(part + "." for part in parts if part)


def join(*sentences: str) -> str:
    """Join the sentences that are not empty."""
    return " ".join(sentence for sentence in sentences if sentence)
