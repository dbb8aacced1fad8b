"""What a reader should know before trusting the numbers, computed from the results.

Each caution is one sentence that names where it applies and what to do.
"""

from collections.abc import Iterator
from functools import partial

from cseg.paper.results import Results
from cseg.paper.statistics import MIN_SEEDS
from cseg.paper.wording import listing, plural, points, signed
from cseg.settings.run import TEACHER_SUFFIX

TRAIN_BOUND = 0.7  # a network whose mIoU on its own training images is lower has not fitted them
FLAT = 0.01  # a curve that rises by less from its smallest to its largest n is flat
FALLING = 0.15  # the loss still falls if it falls by this share over the last third of the steps
FEW_IMAGES = 20  # fewer validation images say little about others
COSTS = 1.3  # arms whose training times differ by more than this ratio are of unequal cost
_named = partial(listing, most=5)


def cautions(results: Results) -> list[str]:
    """Return every caution that the results give cause for, the gravest first."""
    checks = (_leaks, _few_images, _poor_fit, _flat, _still_falling, _never_right, _few_seeds,
              _one_subset, _gaps, _unequal_cost)  # fmt: skip
    return [sentence for check in checks for sentence in check(results)]


def _leaks(results: Results) -> Iterator[str]:
    """Label lists that name validation images; `index` refuses images that are in both splits."""
    audit = results.tables["audit"]
    lists = [] if audit.empty else list(audit.loc[audit["validation"] > 0, "list"].astype(str))
    if lists:
        yield f"Labels leak: {_named(lists)} names validation images as labelled; correct it."


def _few_images(results: Results) -> Iterator[str]:
    counts = results.image_counts
    images = min((len(ids) for ids, _ in counts.values()), default=results.info.get("val_size"))
    if images is not None and images < FEW_IMAGES:
        yield (
            f"Few validation images: {plural(images, 'image')} that the networks were measured on "
            "say little about others, however many seeds run; label more images for validation."
        )


def _poor_fit(results: Results) -> Iterator[str]:
    rows = results.summary
    if "train_miou" not in rows:
        return
    fits = rows.groupby(["arm", "n"], sort=False)["train_miou"].mean()
    low = fits[fits < TRAIN_BOUND].sort_values()
    cells = [f"{arm} with {n} labels: {points(fit)} %" for (arm, n), fit in low.items()]
    if cells:
        yield (
            f"Too few steps, or a rate that does not suit: on its own training images the network "
            f"reaches less than {100 * TRAIN_BOUND:.0f} % mIoU ({_named(cells)}); raise the steps "
            "of pretrain and finetune, or tune the learning rate."
        )


def _flat(results: Results) -> Iterator[str]:
    flat = []
    for arm in results.arms:
        counts = [n for n in results.label_counts if (arm, n) in results.mious]
        if len(counts) > 1:
            rise = results.mean_std(arm, counts[-1])[0] - results.mean_std(arm, counts[0])[0]
            if rise < FLAT:
                flat.append(f"{arm}: {signed(rise)} points from {counts[0]} to {counts[-1]}")
    if flat:
        yield (
            f"More labels do not help ({_named(flat)}), which mostly means that the steps do not "
            "suffice for so many images; raise them before you compare label counts."
        )


def _still_falling(results: Results) -> Iterator[str]:
    curves = results.tables["curves"]
    if curves.empty:
        return
    falling = []
    for (arm, n), rows in curves[curves["stage"] == "finetune"].groupby(["arm", "n"], sort=False):
        part = rows["step"] / max(1, rows["step"].max())
        before = rows.loc[part.between(0.6, 0.7), "loss"].mean()
        last = rows.loc[part >= 0.9, "loss"].mean()
        if last < (1 - FALLING) * before:
            falling.append(f"{arm} with {n} labels")
    if falling:
        yield (
            f"The loss still falls at the end of fine-tuning ({_named(falling)}), by more than "
            f"{100 * FALLING:.0f} % over the last third of the steps; raise finetune.steps."
        )


def _never_right(results: Results) -> Iterator[str]:
    rows = results.tables["per_class"]
    if rows.empty:
        return
    seen = rows[rows["pixels"] > 0]
    best = seen.groupby(["class_name", "arm", "n"], sort=False)["iou"].max()
    cells = len(seen.groupby(["arm", "n"]))
    parts = []
    for name, found in best[best == 0].groupby("class_name", sort=False):
        where = [f"{arm} with {n}" for _, arm, n in found.index]
        parts.append(f"{name} ({'by no arm' if len(where) == cells else _named(where)})")
    if parts:
        yield (
            f"Classes of which no seed gets a single pixel right: {_named(parts)}; label images "
            "that show them, or train longer."
        )


def _few_seeds(results: Results) -> Iterator[str]:
    fewest, runs = min(
        (len(results.draws(n, list(cell))), len(cell)) for (_, n), cell in results.mious.items()
    )
    if fewest < MIN_SEEDS:
        what = plural(fewest, "seed") if fewest == runs else f"{runs} seeds of {fewest} subsets"
        yield (
            f"Too few seeds: some arms have run with {what}, which says little about how another "
            f"training would end; run at least {MIN_SEEDS}{'' if fewest == runs else ' subsets'}."
        )


def _one_subset(results: Results) -> Iterator[str]:
    alone = {
        n for (_, n), cell in results.mious.items()
        if n != results.train_size and len(cell) > len(results.by_subset(n, [*cell])) == 1
    }  # fmt: skip
    if alone:
        counts = listing([str(n) for n in sorted(alone)])
        yield (
            f"One choice of labelled images: all seeds with {counts} labels share one subset, so "
            "the spread does not tell what another choice would change; run other subsets."
        )


def _gaps(results: Results) -> Iterator[str]:
    if results.gap:
        yield f"{results.gap}; finish the others."


def _unequal_cost(results: Results) -> Iterator[str]:
    cost = results.tables["cost"]
    if cost.empty:
        return
    rows = cost[cost["stage"] != "evaluate"]
    devices = sorted(rows["device"].dropna().unique())
    if len(devices) > 1:
        yield (
            f"Trainings ran on several devices ({_named(devices)}): their seconds and memory do "
            "not compare; run all arms on one device before you compare costs."
        )
        return
    totals = rows.groupby(["arm", "n", "seed"])["seconds"].sum().groupby("arm").mean()
    own = totals.copy()
    for arm in own.index.intersection(own.index + TEACHER_SUFFIX):  # it needs its teacher's run
        totals[arm] += own.get(arm.removesuffix(TEACHER_SUFFIX), 0.0)
    if len(totals) < 2 or not totals.min() > 0:
        return
    ratio = totals.max() / totals.min()
    if ratio > COSTS:
        yield (
            f"Arms of unequal cost: training {totals.idxmax()} takes {ratio:.1f} times as long as "
            f"training {totals.idxmin()}; choose budget equal_time to compare at equal time."
        )
