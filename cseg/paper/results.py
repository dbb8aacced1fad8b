"""Read `results/{dataset}/` and answer the questions that tables and figures ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cseg.errors import DataError, reason
from cseg.paper import statistics
from cseg.paper.statistics import Comparison, ImageCounts
from cseg.storage.checksums import check_unchanged
from cseg.storage.files import read_json

RESAMPLES = 2000
# columns that look like numbers now and then and are not
TEXT = dict.fromkeys(
    (
        *("id", "image_id", "setting", "git_revision", "cseg_version", "python_version"),
        *("torch_version", "torchvision_version", "precision", "device"),
        *("subset_fingerprint", "index_fingerprint", "settings_fingerprint", "source_fingerprint"),
    ),
    str,
)
OPTIONAL = ("per_class", "per_image", "confusion", "curves", "cost")
EXTRA = ("pseudo", "features", "separability", "ablations")


@dataclass(frozen=True)
class Results:
    """All that one dataset's result folder says.

    Attributes:
        folder: `results/{dataset}`.
        dataset: its name.
        info: `dataset.json` ({} where absent): class names, palette, licence, citation.
        arms: in the order of `summary.csv`.
        label_counts: every n that any arm has, ascending.
        tables: data frames by file stem; empty frames for files that are absent.
    """

    folder: Path
    dataset: str
    info: Mapping[str, Any]
    arms: tuple[str, ...]
    label_counts: tuple[int, ...]
    tables: Mapping[str, pd.DataFrame]

    @property
    def summary(self) -> pd.DataFrame:
        """One row per finished run."""
        return self.tables["summary"]

    @cached_property
    def mious(self) -> dict[tuple[str, int], dict[int, float]]:
        """MIoU by seed, by (arm, n); only cells that have a finite value."""
        cells: dict[tuple[str, int], dict[int, float]] = {}
        for row in self.summary[["arm", "n", "seed", "miou"]].itertuples(index=False):
            if np.isfinite(row.miou):
                cells.setdefault((row.arm, row.n), {})[row.seed] = float(row.miou)
        return cells

    @cached_property
    def bootstraps(self) -> dict[tuple[str, int], dict[int, np.ndarray]]:
        """Bootstrapped mIoU (B,) by seed, by (arm, n); all runs share the resampled images."""
        counts = image_counts(self.tables["per_image"])
        ids = {each.ids for each in counts.values()}
        if len(ids) != 1:  # no per-image rows, or runs evaluated on different images
            return {}
        weights_BN = statistics.resample_weights(len(ids.pop()), RESAMPLES)
        boots: dict[tuple[str, int], dict[int, np.ndarray]] = {}
        for (arm, n, seed), each in counts.items():
            boots.setdefault((arm, n), {})[seed] = statistics.bootstrap_miou(each, weights_BN)
        return boots

    def compare(self, arm: str, other: str, n: int) -> Comparison:
        """Compare two arms at one label count (see `statistics.compare`)."""
        first, second = (arm, n), (other, n)
        return statistics.compare(
            self.mious.get(first, {}),
            self.mious.get(second, {}),
            self.bootstraps.get(first, {}),
            self.bootstraps.get(second, {}),
        )

    def mean(self, arm: str, n: int) -> float:
        """Mean mIoU over seeds, a fraction; NaN for a cell without runs."""
        return statistics.mean_std(list(self.mious.get((arm, n), {}).values()))[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by class id: of dataset.json, else of per_class.csv."""
        if self.info.get("class_names"):
            return tuple(self.info["class_names"])
        rows = self.tables["per_class"]
        if rows.empty:
            return ()
        return tuple(rows.drop_duplicates("class_id").sort_values("class_id")["class_name"])

    def contrastive_arms(self, reference: str = "scratch") -> tuple[str, ...]:
        """Arms that pretrain from the reference's own start: those the paper's claim is about."""
        rows = self.summary
        if "pretrain_steps" not in rows or "init" not in rows:
            return tuple(a for a in self.arms if not a.startswith((reference, "imagenet")))
        starts = set(rows.loc[rows["arm"] == reference, "init"])
        kept = rows[(rows["pretrain_steps"] > 0) & (rows["init"].isin(starts) | (not starts))]
        found = set(kept["arm"])
        return tuple(arm for arm in self.arms if arm in found and not arm.endswith("_pseudo"))

    def best_arm(self, n: int, arms: tuple[str, ...]) -> str | None:
        """Find the arm with the highest mean mIoU at n; None where none of them has runs."""
        present = [arm for arm in arms if (arm, n) in self.mious]
        return max(present, key=lambda arm: self.mean(arm, n)) if present else None


def read_results(folder: Path) -> Results:
    """Read the CSVs and `dataset.json` of one dataset.

    Raises:
        DataError: `summary.csv` is missing, empty, or lacks a key column.
    """
    folder = Path(folder)
    summary = _read(folder / "summary.csv")
    missing = [c for c in ("dataset", "arm", "n", "seed", "miou") if c not in summary]
    if missing or summary.empty:
        what = "is missing or has no rows" if summary.empty else f"lacks {', '.join(missing)}"
        raise DataError(f"{folder / 'summary.csv'} {what}; run the stage `summary` to write it")
    tables = {name: _read(folder / f"{name}.csv") for name in (*OPTIONAL, *EXTRA)}
    info = read_json(folder / "dataset.json") if (folder / "dataset.json").is_file() else {}
    return Results(
        folder=folder,
        dataset=str(summary["dataset"].iloc[0]),
        info=info,
        arms=tuple(summary["arm"].unique()),
        label_counts=tuple(int(n) for n in sorted(summary["n"].unique())),
        tables={"summary": summary, **tables},
    )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    check_unchanged(path)
    if path.stat().st_size == 0:
        return pd.DataFrame()
    try:
        return pd.read_csv(path, dtype=TEXT)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {reason(error)}; run `summary` to write it anew"
        ) from error


def image_counts(per_image: pd.DataFrame) -> dict[tuple[str, int, int], ImageCounts]:
    """Per-image pixel counts by (arm, n, seed), images in order of id."""
    if per_image.empty:
        return {}
    classes = sum(column.startswith("intersection_") for column in per_image)
    counts = {}
    for (arm, n, seed), rows in per_image.groupby(["arm", "n", "seed"], sort=False):
        ordered = rows.sort_values("id")
        counts[str(arm), int(n), int(seed)] = ImageCounts(
            tuple(ordered["id"]),
            *(
                ordered[[f"{kind}_{c}" for c in range(classes)]].to_numpy(np.int64)
                for kind in ("intersection", "truth", "predicted")
            ),
        )
    return counts
