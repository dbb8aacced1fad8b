"""Which start to take with how many labels, how sure that is, and what more labels would buy."""

from dataclasses import dataclass

import numpy as np

from cseg.paper.results import Results
from cseg.paper.statistics import BOOTSTRAP, MIN_SEEDS, Comparison, holm, seeds_needed
from cseg.paper.wording import interval, listing, plural, points, signed, with_std

MOST_SEEDS = 12  # a difference that needs more seeds than this is called too small for seeds
MOST_NAMED = 4  # tied arms named in a sentence


@dataclass(frozen=True)
class Recommendation:
    """The best arm at one label count."""

    n: int  # label count
    arm: str  # the arm with the highest mean mIoU
    mean: float  # its mIoU, a fraction
    std: float  # its sample standard deviation over seeds
    seeds: int  # number of its seeds
    shared: bool  # whether some of its seeds share a subset, so that fewer draws than seeds count
    # the other arms, best first, and how far `arm` is above each (corrected over all label counts)
    rivals: tuple[tuple[str, Comparison], ...]
    # the next larger label count at which the arm has run; None if there is none
    next_n: int | None
    # what the arm gains from here to `next_n`, corrected over all label counts
    gain: Comparison | None
    share: float  # `mean` as a share of the best arm's with all labels; NaN if that has not run

    @property
    def tied(self) -> tuple[str, ...]:
        """The arms that are not significantly worse, best first."""
        return tuple(arm for arm, each in self.rivals if not each.above)

    @property
    def decided(self) -> bool:
        """Whether there are other arms, and all are significantly worse."""
        return bool(self.rivals) and not self.tied


def recommend(results: Results) -> list[Recommendation]:
    """Name the best arm at each label count, ascending.

    It is compared with every other arm there; the comparisons of all label counts are one family
    (`statistics.holm`), and the gains to the next label count are another.
    """
    ranked = {n: arms for n in results.label_counts if (arms := results.ranked(n))}
    pairs = [(n, arm, other) for n, (arm, *others) in ranked.items() for other in others]
    tests = holm([results.difference((arm, n), (other, n)) for n, arm, other in pairs])
    rivals: dict[int, list[tuple[str, Comparison]]] = {n: [] for n in ranked}
    for (n, _, other), by in zip(pairs, tests):
        rivals[n].append((other, by))
    larger = {
        n: next((m for m in ranked if m > n and (arms[0], m) in results.mious), None)
        for n, arms in ranked.items()
    }
    steps = [((ranked[n][0], m), (ranked[n][0], n)) for n, m in larger.items() if m]
    gains = holm([results.difference(*step) for step in steps])
    gain_at = {n: gain for (_, (_, n)), gain in zip(steps, gains)}
    return [
        Recommendation(
            n,
            arm,
            *results.mean_std(arm, n),
            len(seeds := list(results.mious[arm, n])),
            len(results.draws(n, seeds)) < len(seeds),
            tuple(rivals[n]),
            larger[n],
            gain_at.get(n),
            share_of_all_labels(results, arm, n),
        )
        for n, (arm, *_) in ranked.items()
    ]


def share_of_all_labels(results: Results, arm: str, n: int) -> float:
    """MIoU of a cell over the best arm's with all labels; NaN if no arm has run with all."""
    size = results.train_size or 0
    best = results.ranked(size)
    return results.mean_std(arm, n)[0] / results.mean_std(best[0], size)[0] if best else np.nan


def which(each: Recommendation) -> str:
    """Say which arm to take, its mIoU and how it compares with the next."""
    seeds = plural(each.seeds, "seed")
    text = f"{each.arm}, {with_std(each.mean, each.std)} mIoU"
    if each.share < 1:  # NaN compares as False
        text += f" ({100 * each.share:.0f} % of the best score with all labels)"
    if not each.rivals:
        return f"{text}; no other arm has run with {plural(each.n, 'label')}; {seeds}."
    rival, by = each.rivals[0]
    return f"{text}; {points(by.difference)} above the next ({rival}), {interval(by)}; {seeds}."


def certainty(each: Recommendation) -> str:
    """Say whether the lead is decided, and if not, between which arms."""
    if not each.rivals:
        return "Nothing to compare with"
    if not each.tied:
        over_images = any(by.test == BOOTSTRAP for _, by in each.rivals)
        return "Ahead on the images, not shown for other seeds" if over_images else "Decided"
    return f"Not decided between {listing([each.arm, *each.tied], MOST_NAMED)}"


def advice(each: Recommendation) -> str:
    """Say what would decide an open lead; "" if there is none."""
    if not each.rivals:
        return "Run a second arm."
    fewest = min(by.seeds for _, by in each.rivals)
    what = "seeds with different subsets" if each.shared else "seeds"
    if fewest < MIN_SEEDS:
        return (
            f"Run at least {MIN_SEEDS} {what}: {fewest} cannot tell how another training would end."
        )
    needed = [seeds_needed(by, MOST_SEEDS) for _, by in each.rivals if not by.above]
    if all(needed):
        most = max((seeds for seeds in needed if seeds), default=0)
        return f"{most} {what} would decide it if differences and spread stay." if most else ""
    return (
        f"Even {MOST_SEEDS} {what} would hardly decide it, so small is the difference against its "
        "spread: take the cheapest of these arms, or label more images."
    )


def more_labels(each: Recommendation) -> str:
    """Say what the next label count would buy."""
    if each.gain is None or each.next_n is None:
        return ""
    gain, doublings = each.gain, np.log2(each.next_n / each.n)
    verdict = "" if gain.significant or not gain.test else ", which may be chance"
    text = (
        f"{each.next_n} labels instead of {each.n} buy {signed(gain.difference)} points of mIoU "
        f"with {each.arm}, {interval(gain)}{verdict}"
    )
    if doublings > 1.5:
        text += f"; {signed(gain.difference / doublings)} for each doubling"
    return text + "."
