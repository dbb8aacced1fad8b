"""What held and what did not, as sentences computed from the results."""

from dataclasses import dataclass

import numpy as np

from cseg.paper.published import largest_gain
from cseg.paper.results import Results
from cseg.paper.statistics import Comparison, mean_std
from cseg.paper.table_labels import label_table
from cseg.paper.wording import labels, p_value, points, signed

HELD, FAILED, OPEN = "held", "did not hold", "open"
CLAIM = 0.20  # the abstract: more than 20 points in some settings


@dataclass(frozen=True)
class Finding:
    """One expectation, its verdict (held, did not hold, open) and the numbers behind it."""

    expectation: str
    verdict: str
    evidence: str


def findings(results: Results, reference: str, imagenet: str) -> list[Finding]:
    """Hold the method's claims against the results; claims without data are left out."""
    found = [
        _labels_help(results, reference),
        *_beats(results, reference),
        _shrinks(results, reference),
        _distortion(results, reference),
        *_matches(results, reference, imagenet),
        _saves_labels(results, reference),
        _claim(results, reference),
    ]
    return [each for each in found if each is not None]


def _verdict(each: Comparison) -> str:
    if each.difference <= 0:
        return FAILED
    return HELD if each.significant else OPEN


def _difference(each: Comparison) -> str:
    test = f", {each.test}" if each.test else ""
    return f"{signed(each.difference)} points ({p_value(each.p)}{test})"


def _labels_help(results: Results, reference: str) -> Finding | None:
    counts = [n for n in results.label_counts if (reference, n) in results.mious]
    if len(counts) < 2:
        return None
    few, many = results.mean(reference, counts[0]), results.mean(reference, counts[-1])
    evidence = f"{reference}: {points(few)} % at n = {counts[0]}, {points(many)} % at {counts[-1]}"
    rows = results.summary
    if "train_miou" in rows:
        at_few = rows[(rows["arm"] == reference) & (rows["n"] == counts[0])]["train_miou"]
        fit = mean_std(at_few)[0]
        if np.isfinite(fit):
            evidence += f"; on its own {counts[0]} training images {points(fit)} %"
    verdict = HELD if many > few else FAILED
    return Finding(f"more labels help {reference}", verdict, evidence + ".")


def _beats(results: Results, reference: str) -> list[Finding]:
    """Hold the best contrastive arm against the reference, at each label count."""
    arms = results.contrastive_arms(reference)
    found = []
    for n in results.label_counts:
        arm = results.best_arm(n, arms)
        if arm is None or (reference, n) not in results.mious:
            continue
        each = results.compare(arm, reference, n)
        chosen = f", best of {len(arms)} contrastive arms" if len(arms) > 1 else ""
        found.append(
            Finding(
                f"contrastive pretraining beats {reference} at n = {n}",
                _verdict(each),
                f"{arm}{chosen}: {_difference(each)}.",
            )
        )
    return found


def _shrinks(results: Results, reference: str) -> Finding | None:
    arms = results.contrastive_arms(reference)
    gains = {}
    for n in results.label_counts:
        arm = results.best_arm(n, arms)
        if arm and (reference, n) in results.mious:
            gains[n] = results.compare(arm, reference, n).difference
    if len(gains) < 2:
        return None
    few, many = min(gains), max(gains)
    return Finding(
        "the gain is larger where labels are fewer",
        HELD if gains[few] > gains[many] else FAILED,
        "Best contrastive arm: "
        + ", ".join(f"{signed(gain)} at n = {n}" for n, gain in gains.items())
        + " (points; no test).",
    )


def _distortion(results: Results, reference: str) -> Finding | None:
    arm = f"{reference}_distorted"
    arms = results.contrastive_arms(reference)
    parts, above = [], []
    for n in results.label_counts:
        best = results.best_arm(n, arms)
        if best and (arm, n) in results.mious and (reference, n) in results.mious:
            alone = results.compare(arm, reference, n)
            beyond = results.compare(best, arm, n)
            above.append(beyond)
            parts.append(
                f"n = {n}: distortion alone {signed(alone.difference)}, {best} beyond it "
                f"{_difference(beyond)}"
            )
    if not parts:
        return None
    verdict = FAILED if any(each.difference <= 0 for each in above) else OPEN
    if all(each.difference > 0 and each.significant for each in above):
        verdict = HELD
    return Finding("the gain is more than colour distortion alone", verdict, "; ".join(parts) + ".")


def _matches(results: Results, reference: str, imagenet: str) -> list[Finding]:
    arms = results.contrastive_arms(reference)
    found = []
    for n in results.label_counts:
        arm = results.best_arm(n, arms)
        if arm is None or (imagenet, n) not in results.mious:
            continue
        each = results.compare(arm, imagenet, n)
        # not significantly worse is no proof of a match, so it stays open
        verdict = HELD if each.difference >= 0 else (FAILED if each.significant else OPEN)
        found.append(
            Finding(
                f"it matches or outperforms {imagenet} pretraining at n = {n}",
                verdict,
                f"{arm}: {_difference(each)}.",
            )
        )
    return found


def _saves_labels(results: Results, reference: str) -> Finding | None:
    made = label_table(results, reference)
    if isinstance(made, str):
        return None
    frame = made[0]
    frame = frame[frame["arm"].isin(results.contrastive_arms(reference))]
    full = frame[frame["reference_n"] == frame["reference_n"].max()]
    if full.empty:
        return None
    n = int(full["reference_n"].iloc[0])
    reached = full[full["labels_needed"].notna()].sort_values("labels_needed", kind="stable")
    expectation = f"fewer labels suffice for the mIoU of {reference} at n = {n}"
    if reached.empty:
        return Finding(expectation, FAILED, "No contrastive arm reaches it.")
    row = reached.iloc[0]
    least = "at most " if row["status"] == "at smallest n" else ""
    evidence = f"{row['arm']} needs {least}{labels(row['labels_needed'])} labels"
    if np.isfinite(row["labels_low"]):
        high = row["labels_high"]
        top = labels(high) if np.isfinite(high) else f"more than {row['largest_n']}"
        evidence += f" (95 % interval {labels(row['labels_low'])} to {top})"
    saves = row["labels_needed"] < n
    sure = saves and row["labels_high"] < n
    return Finding(expectation, HELD if sure else (OPEN if saves else FAILED), evidence + ".")


def _claim(results: Results, reference: str) -> Finding | None:
    arm, n, gain = largest_gain(results, reference)
    if not arm:
        return None
    return Finding(
        "more than 20 points of gain in some settings (claimed for Cityscapes and VOC 2012)",
        HELD if gain > CLAIM else FAILED,
        f"Largest gain here: {signed(gain)} points ({arm}, n = {n}).",
    )
