"""Gain of contrastive pretraining by class on real images: a table in docs/evidence.

`python tests/evidence_classes.py` renders classes.md again from the CSVs of the experiments named
here.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from evidence_tables import EVIDENCE

from cseg.paper import wording
from cseg.paper.markup import Table, markdown, sections
from cseg.paper.statistics import mean_std
from cseg.paper.wording import points, signed
from cseg.storage.files import write_text


@dataclass(frozen=True)
class Pair:
    """A contrastive arm and the baseline that it is compared with."""

    folder: Path  # holds per_class.csv
    title: str  # of its part of the table
    n: int  # label count
    arm: str
    baseline: str = "scratch"


MICROGRAPHS = EVIDENCE / "budgets_micrographs"
PAIRS = (
    Pair(EVIDENCE / "camvid_thrice", "CamVid, 7,200 steps, cross", 46, "cross"),
    Pair(MICROGRAPHS / "7200", "micrographs, 7,200 steps, cross", 30, "cross"),
    Pair(MICROGRAPHS / "7200", "micrographs, 7,200 steps, within", 30, "within"),
    Pair(MICROGRAPHS / "24000", "micrographs, 24,000 steps, within", 30, "within"),
    Pair(EVIDENCE / "micrographs_new_seeds", "micrographs, five new seeds, within", 30, "within"),
)
KEPT = EVIDENCE / "classes.md"


@dataclass(frozen=True)
class ClassGain:
    """One class in one comparison; fractions, mean and sample deviation over seeds.

    Attributes:
        name: of the class.
        share: of the pixels of the evaluated images that are this class in truth.
        iou: of the baseline, the mean.
        gain: paired difference of IoU to the baseline.
    """

    name: str
    share: float
    iou: float
    gain: tuple[float, float]

    @property
    def mended(self) -> float:
        """The gain as a share of what the baseline lacks to an IoU of one."""
        return self.gain[0] / (1 - self.iou)


def class_gains(pair: Pair) -> list[ClassGain]:
    """All classes of a comparison, the most frequent first."""
    rows = pd.read_csv(pair.folder / "per_class.csv")
    rows = rows[rows["n"] == pair.n].set_index(["class_name", "seed"])
    ours, theirs = (rows[rows["arm"] == arm] for arm in (pair.arm, pair.baseline))
    pixels = ours["pixels"].groupby("class_name").mean().sort_values(ascending=False)
    gains = (ours["iou"] - theirs["iou"]).groupby("class_name")
    ious = theirs["iou"].groupby("class_name").mean()
    return [
        ClassGain(str(name), count / pixels.sum(), ious[name], mean_std(gains.get_group(name)))
        for name, count in pixels.items()
    ]


def table(pairs: tuple[Pair, ...]) -> str:
    """Markdown: one part per comparison, one row per class."""
    parts = []
    for pair in pairs:
        rows = []
        for each in class_gains(pair):
            mean, std = each.gain
            gain = f"{signed(mean)} ± {points(std)}"
            shown = points(each.share), points(each.iou), gain, signed(each.mended)
            rows.append((each.name, *shown))
        parts.append((pair.title, rows))
    caption = wording.join(
        "Gain of contrastive pretraining over plain cross-entropy from scratch, by class: paired "
        "difference of IoU in points, mean ± sample standard deviation over seeds.",
        "Share: percent of the pixels of the evaluated images.",
        "Mended: the gain in percent of what the baseline lacks to an IoU of 100.",
    )
    header = ("experiment", "class", "share (%)", "IoU of scratch", "gain (points)", "mended (%)")
    return markdown([Table("classes", caption, header, sections(*parts))])


if __name__ == "__main__":
    write_text(KEPT, table(PAIRS))
