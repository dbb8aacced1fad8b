"""MIoU, and gain over the best baseline, by budget: a drawing and a table in docs/evidence.

An experiment's folder, docs/evidence/budgets_micrographs, holds the CSVs of each budget in a folder
named after its steps. `python tests/evidence_budgets.py` renders budgets.md and budgets.png again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from evidence_tables import EVIDENCE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.pyplot import subplots
from matplotlib.ticker import FixedLocator, NullLocator

from cseg.errors import DataError
from cseg.paper import wording
from cseg.paper.markup import Table, markdown, sections
from cseg.paper.results import read_results
from cseg.paper.statistics import Comparison, holm, mean_std
from cseg.paper.style import (
    INCH_WIDTH,
    ArmStyle,
    arm_styles,
    figure_style,
    legend_below,
    save,
)
from cseg.paper.wording import bracketed, points, with_std
from cseg.storage.files import write_text

FOLDERS = sorted(path for path in EVIDENCE.glob("budgets_*") if path.is_dir())
SCRATCH, IMAGENET = ("scratch", "scratch_distorted"), ("imagenet", "imagenet_distorted")
# the baselines of each arm that has any; the first is plain cross-entropy, without distortion
BASELINES = {
    "scratch_consistency": SCRATCH,
    "within": SCRATCH,
    "cross": SCRATCH,
    "cross_consistency": ("scratch_consistency",),
    "imagenet_consistency": IMAGENET,
    "imagenet_cross": IMAGENET,
    "imagenet_cross_consistency": ("imagenet_consistency",),
}
SETTLED = 0.01  # a baseline has stopped gaining if the next budget adds less, a fraction


@dataclass(frozen=True)
class Cell:
    """One arm at one budget; mIoU as mean and sample deviation over seeds, fractions.

    Attributes:
        budget: steps of both stages.
        arm: its name.
        miou: on the images that are reported.
        trained: on the labelled images.
        baseline: the best of its baselines at this budget; "" if it is a baseline.
        gain: difference to that baseline, corrected together with those of all arms and budgets.
        plain: difference to plain cross-entropy, corrected in the same way.
    """

    budget: int
    arm: str
    miou: tuple[float, float]
    trained: tuple[float, float]
    baseline: str = ""
    gain: Comparison | None = None
    plain: Comparison | None = None


def read_cells(folder: Path) -> list[Cell]:
    """All arms by budget, ascending.

    Raises:
        DataError: a run's steps are not those that its folder is named after, or there are several
            label counts.
    """
    made, gains, plains = [], {}, {}
    for path in sorted(folder.glob("*/summary.csv"), key=lambda path: int(path.parent.name)):
        results, budget = read_results(path.parent), int(path.parent.name)
        if set(results.summary["total_steps"]) != {budget} or len(results.label_counts) > 1:
            raise DataError(
                f"{path} has runs of other than {budget} steps, or of several label counts; keep "
                "the runs of one budget and count there"
            )
        (n,) = results.label_counts
        for arm in results.arms:
            usual, *_ = bases = BASELINES.get(arm, ("",))
            best = next((base for base in results.ranked(n) if base in bases), "")
            if best:
                gains[len(made)] = results.difference((arm, n), (best, n))
            if usual in results.arms:
                plains[len(made)] = results.difference((arm, n), (usual, n))
            trained = results.summary.loc[results.summary["arm"] == arm, "train_miou"]
            made.append(Cell(budget, arm, results.mean_std(arm, n), mean_std(trained), best))
    gain = dict(zip(gains, holm(list(gains.values()))))
    plain = dict(zip(plains, holm(list(plains.values()))))
    return [replace(each, gain=gain.get(i), plain=plain.get(i)) for i, each in enumerate(made)]


def settled(cells: Iterable[Cell], baselines: tuple[str, ...]) -> int | None:
    """Smallest budget from which the next larger one gains the best of `baselines` under a point.

    None if there is none.
    """
    best: dict[int, float] = {}
    for each in cells:
        if each.arm in baselines:
            best[each.budget] = max(each.miou[0], best.get(each.budget, 0.0))
    steps = pairwise(sorted(best))
    return next((few for few, more in steps if best[more] - best[few] < SETTLED), None)


def table(cells: list[Cell]) -> str:
    """Markdown: one part per budget, one row per arm; several budgets tell which has settled."""
    notes = []
    budgets = sorted({each.budget for each in cells})
    for baselines in (SCRATCH, IMAGENET):
        if len(budgets) > 1 and any(each.arm in baselines for each in cells):
            budget = settled(cells, baselines)
            notes.append(
                f"The best baseline with {baselines[0]}'s start gains less than a point from "
                f"{budget:,} steps to the next budget." if budget else
                f"The best baseline with {baselines[0]}'s start still gains at the largest budget."
            )  # fmt: skip
    caption = wording.join(
        "mIoU (%) on images that decided nothing, and on the labelled images, mean ± sample "
        "standard deviation over seeds; differences in points to the best baseline of the same "
        "budget, and to plain cross-entropy, each column corrected for all of its comparisons.",
        wording.tests_note(each.gain for each in cells if each.gain),
        *notes,
    )
    rows = {
        budget: [
            (each.arm, with_std(*each.miou), points(each.trained[0]), each.baseline or "–",
             bracketed(each.gain), bracketed(each.plain))
            for each in cells if each.budget == budget
        ]
        for budget in budgets
    }  # fmt: skip
    header = ("steps", "arm", "mIoU", "training mIoU", "best baseline", "above it",
              "above cross-entropy without distortion")  # fmt: skip
    parts = sections(*((f"{budget:,}", part) for budget, part in rows.items()))
    return markdown([Table("budgets", caption, header, parts)])


def draw(cells: list[Cell]) -> Figure:
    """Three panels over the budget: mIoU, training mIoU, gain over the best baseline.

    Bars are ± one standard deviation over seeds. A gain's marker is filled if its corrected
    interval leaves out zero.
    """
    figure, panels = subplots(1, 3, figsize=(INCH_WIDTH, 3.0))
    budgets = sorted({each.budget for each in cells})
    for arm, style in arm_styles(list(dict.fromkeys(each.arm for each in cells))).items():
        own = [each for each in cells if each.arm == arm]
        _line(panels[0], style, arm, [(each.budget, each.miou) for each in own])
        _line(panels[1], style, arm, [(each.budget, each.trained) for each in own])
        gained = [(each.budget, each.gain) for each in own if each.gain]
        spreads = [(budget, (gain.difference, gain.spread)) for budget, gain in gained]
        _line(panels[2], style, arm, spreads, face="white")
        sure = [(b, 100 * gain.difference) for b, gain in gained if gain.significant]
        if sure:  # above the bars, whose lines have 2.1
            panels[2].plot(*zip(*sure), style.marker, color=style.color, zorder=3)
    panels[2].axhline(0, color="#333333", lw=0.8)
    titles = ("mIoU (%)", "training mIoU (%)", "above the best baseline (points)")
    for axes, title in zip(panels, titles):
        axes.set_title(title)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(budgets))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axes.set_xlabel("steps (log scale)")
    legend_below(figure, panels[0])
    return figure


def _line(
    axes: Axes,
    style: ArmStyle,
    arm: str,
    values: list[tuple[int, tuple[float, float]]],
    face: str | None = None,
) -> None:
    """One arm's means over its budgets, in percent, with bars of a deviation."""
    if values:
        budgets, scores = zip(*values)
        means, spreads = zip(*((100 * mean, 100 * std) for mean, std in scores))
        axes.errorbar(budgets, means, yerr=spreads, label=arm, color=style.color, capsize=2,
                      marker=style.marker, linestyle=style.linestyle, mfc=face)  # fmt: skip


if __name__ == "__main__":
    for each in FOLDERS:
        cells = read_cells(each)
        write_text(each / "budgets.md", table(cells))
        if len({cell.budget for cell in cells}) > 1:
            with figure_style():
                _, pdf = save(draw(cells), each / "budgets")
            pdf.unlink()  # the pages show the PNG
