"""Read `results/{name}/` and answer the questions that tables, figures and the page ask of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cseg.errors import DataError, readable
from cseg.paper import statistics
from cseg.paper.statistics import MIN_IMAGES, MIN_SEEDS, Difference, mean_std
from cseg.storage.files import check_unchanged, read_json
from cseg.storage.tables import read_table

RESAMPLES = 10_000
Cell = tuple[str, int]  # arm, n
PROVENANCE = (  # columns of summary.csv that say with what a run was made
    "cseg_version", "git_revision", "source_fingerprint", "index_fingerprint",
    "settings_fingerprint", "python_version", "torch_version", "torchvision_version", "device",
    "threads", "precision",
)  # fmt: skip
OPTIONAL = ("per_class", "per_image", "confusion", "curves", "cost", "pseudo", "features",
            "separability", "ablations", "audit")  # fmt: skip


@dataclass(frozen=True)
class Results:
    """All that one experiment's result folder says."""

    folder: Path  # `results/{name}`
    dataset: str  # name of the dataset
    # `dataset.json` ({} if absent): class names, palette, licence, citation
    info: Mapping[str, Any]
    arms: tuple[str, ...]  # in the order of `summary.csv`
    label_counts: tuple[int, ...]  # every n that any arm has, ascending
    reference: str  # the arm that the others are compared with
    # data frames by file stem; empty frames for files that are absent
    tables: Mapping[str, pd.DataFrame]

    @property
    def summary(self) -> pd.DataFrame:
        """One row per finished run."""
        return self.tables["summary"]

    @property
    def seeds(self) -> int:
        """Number of seeds that any run has."""
        return int(self.summary["seed"].nunique())

    def values(self, column: str) -> list[str]:
        """Distinct values of a column of `summary.csv`, sorted; none if it is absent or empty."""
        rows = self.summary.get(column, pd.Series(dtype=str))
        return sorted(str(value) for value in rows.dropna().unique())

    @property
    def gap(self) -> str:
        """Which share of the grid of arms, label counts and seeds has run; "" if all has."""
        expected = len(self.arms) * len(self.label_counts) * self.seeds
        done = sum(len(cell) for cell in self.mious.values())
        if done == expected:
            return ""
        return f"{done} of {expected} runs have ended (one for each arm, n and seed)"

    @cached_property
    def mious(self) -> dict[Cell, dict[int, float]]:
        """MIoU by seed, by (arm, n); only cells that have a finite value."""
        finite = self.summary[np.isfinite(self.summary["miou"])]
        cells = finite.groupby(["arm", "n"], sort=False)
        return {cell: dict(zip(rows["seed"], rows["miou"])) for cell, rows in cells}

    @cached_property
    def image_counts(self) -> dict[tuple[str, int, int], tuple[tuple[str, ...], np.ndarray]]:
        """Ids of the images, in order, and their pixel counts (3, N, C), by (arm, n, seed).

        The counts are those of pixels that are right, true and predicted, per image and class;
        int64. Images whose every pixel is ignored are left out.
        """
        per_image = self.tables["per_image"]
        if per_image.empty:
            return {}
        kinds = [[c for c in per_image if c.startswith(f"{kind}_")]
                 for kind in ("intersection", "truth", "predicted")]  # fmt: skip
        counts = {}
        for (arm, n, seed), rows in per_image.groupby(["arm", "n", "seed"], sort=False):
            ordered = rows[rows[kinds[1]].any(axis=1)].sort_values("id")
            counts_3NC = np.stack([ordered[columns].to_numpy(np.int64) for columns in kinds])
            counts[str(arm), int(n), int(seed)] = (tuple(ordered["id"]), counts_3NC)
        return counts

    @cached_property
    def bootstraps(self) -> dict[Cell, dict[int, np.ndarray]]:
        """Bootstrapped mIoU (B,) by seed, by (arm, n); all runs share the resampled images.

        Empty without per-image rows, and with fewer than `MIN_IMAGES` images.
        """
        counts = self.image_counts
        ids = {ids for ids, _ in counts.values()}
        if len(ids) != 1 or len(images := ids.pop()) < MIN_IMAGES:
            return {}
        weights_BN = statistics.resample_weights(len(images), RESAMPLES)
        boots: dict[Cell, dict[int, np.ndarray]] = {}
        for (arm, n, seed), (_, counts_3NC) in counts.items():
            boots.setdefault((arm, n), {})[seed] = statistics.miou(*(weights_BN @ counts_3NC))
        return boots

    @cached_property
    def subsets(self) -> dict[tuple[int, int], str]:
        """What names the labelled subset of (n, seed); all seeds share that of all labels."""
        rows = self.summary
        if "subset_fingerprint" not in rows:
            return {}
        named = rows.dropna(subset=["subset_fingerprint"])
        return {
            (n, seed): "all labels" if n == self.train_size else mark
            for n, seed, mark in zip(named["n"], named["seed"], named["subset_fingerprint"])
        }

    def by_subset(self, n: int, seeds: list[int]) -> list[list[int]]:
        """Group the seeds of one label count by the subset they label."""
        groups: dict[str, list[int]] = {}
        for seed in seeds:
            groups.setdefault(self.subsets.get((n, seed), f"seed {seed}"), []).append(seed)
        return list(groups.values())

    def draws(self, n: int, seeds: list[int]) -> list[list[int]]:
        """Group the seeds of one label count into independent draws.

        Seeds that share a subset are no independent draws of it, so they are one draw, unless all
        seeds share one subset: then each seed is a draw of the initial weights.
        """
        groups = self.by_subset(n, seeds)
        return groups if len(groups) > 1 else [[seed] for seed in seeds]

    def split_spread(self, cells: Iterable[Cell]) -> tuple[float, float]:
        """Spread of mIoU over cells due to the labelled subset, and to the initial weights."""
        return statistics.split_spread([
            [[self.mious[cell][seed] for seed in group]
             for group in self.by_subset(cell[1], sorted(self.mious[cell]))]
            for cell in cells if cell in self.mious
        ])  # fmt: skip

    def difference(self, first: Cell, second: Cell) -> Difference:
        """Paired differences of two cells, first minus second, over the seeds both have.

        The seeds of one draw (`draws`) are averaged.
        """
        values_S, resampled_B = self._paired(first, second), np.empty(0)
        if 0 < len(values_S) < MIN_SEEDS:  # more are tested over seeds
            boots = _gaps(self.bootstraps.get(first, {}), self.bootstraps.get(second, {}))
            seeds = sorted(self.mious[first].keys() & self.mious[second].keys())
            if boots.keys() >= set(seeds):
                draws = self.draws(second[1], seeds)
                resampled_B = np.mean(over_draws(boots, draws), axis=0)
        return Difference(values_S, resampled_B)

    def _paired(self, first: Cell, second: Cell) -> np.ndarray:
        """Difference of two cells for each draw of the seeds they share, shape (S,)."""
        gaps = _gaps(self.mious.get(first, {}), self.mious.get(second, {}))
        values = over_draws(gaps, self.draws(second[1], sorted(gaps)))
        # rounded far below what an mIoU can tell, so that equal values differ by zero
        return np.round(np.array(values, float), 12)

    def mean_std(self, arm: str, n: int) -> tuple[float, float]:
        """Mean and sample deviation of mIoU over seeds, fractions; NaN for a cell without runs."""
        return mean_std(list(self.mious.get((arm, n), {}).values()))

    def grouped(self, rows: pd.DataFrame, keys: list[str], **columns: Any) -> pd.DataFrame:
        """Named aggregates of the arms' rows by `keys`, arms in their order, and the dataset."""
        ours = {"mean": lambda cell: mean_std(cell)[0], "std": lambda cell: mean_std(cell)[1]}
        named = {name: (column, ours.get(how, how)) for name, (column, how) in columns.items()}
        ordered = rows.assign(arm=pd.Categorical(rows["arm"], self.arms))
        frame = ordered.groupby(keys, observed=True, as_index=False).agg(**named)
        frame.insert(0, "dataset", self.dataset)
        return frame

    def score(self, arm: str, n: int) -> dict[str, Any]:
        """The columns of tables that say what a cell scores, and over how many runs."""
        mean, std = self.mean_std(arm, n)
        runs = len(self.mious.get((arm, n), {}))
        return {"arm": arm, "n": n, "runs": runs, "miou_mean": mean, "miou_std": std}

    def ranked(self, n: int) -> list[str]:
        """Arms that have runs at n, the best first.

        One arm is better than another if it lies above it on the draws both have; the best is
        better than most others. If all have the same draws, that is the order of their means.
        """
        present = [arm for arm in self.arms if (arm, n) in self.mious]

        def place(arm: str) -> tuple[int, float]:
            leads = [self._paired((arm, n), (other, n)) for other in present]
            wins = sum(lead_S.mean() > 0 for lead_S in leads if len(lead_S))
            return -wins, -self.mean_std(arm, n)[0]

        return sorted(present, key=place)

    @property
    def rival(self) -> str | None:
        """The arm that figures set against the reference: the best other at the smallest n."""
        ranked = self.ranked(self.label_counts[0])
        return next((arm for arm in ranked if arm != self.reference), None)

    @property
    def train_size(self) -> int | None:
        """Number of images of the whole training set, if the results say it."""
        if "n_train" in self.summary and self.summary["n_train"].notna().any():
            return int(self.summary["n_train"].dropna().max())
        size = self.info.get("train_size")
        return int(size) if size else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by class id: of dataset.json, else of per_class.csv."""
        if self.info.get("class_names"):
            return tuple(self.info["class_names"])
        rows = self.tables["per_class"]
        if rows.empty:
            return ()
        return tuple(rows.drop_duplicates("class_id").sort_values("class_id")["class_name"])


def read_results(folder: Path) -> Results:
    """Read the CSVs, `dataset.json` and `experiment.json` of one results folder.

    The reference arm is that of `experiment.json`. Without it, or if that arm has no run, it is
    `scratch` if that has run, else the first arm of `summary.csv` whose name begins with
    `scratch`, else the first of all (gathered CSVs are in alphabetical order).

    Raises:
        DataError: `summary.csv` is missing, empty, or lacks a key column, or its runs had
            different images, so that they cannot be compared.
    """
    summary = _read(folder / "summary.csv")
    missing = [c for c in ("dataset", "arm", "n", "seed", "miou") if c not in summary]
    if missing or summary.empty:
        what = "is missing or has no rows" if summary.empty else f"lacks {', '.join(missing)}"
        raise DataError(f"{folder / 'summary.csv'} {what}; run the stage `summary` to write it")
    _check_same_images(summary, folder)
    tables = {name: _read(folder / f"{name}.csv") for name in OPTIONAL}
    arms = tuple(summary["arm"].unique())
    usual = ("scratch", *(arm for arm in arms if arm.startswith("scratch")), arms[0])
    candidates = [str(_facts(folder / "experiment.json").get("reference_arm")), *usual]
    return Results(
        folder=folder,
        dataset=str(summary["dataset"].iloc[0]),
        info=_facts(folder / "dataset.json"),
        arms=arms,
        label_counts=tuple(int(n) for n in sorted(summary["n"].unique())),
        reference=next(arm for arm in candidates if arm in arms),
        tables={"summary": summary, **tables},
    )


def _check_same_images(summary: pd.DataFrame, folder: Path) -> None:
    """Refuse runs of another index, or of another subset at one label count and seed."""
    for mark, keys in (("index_fingerprint", ["dataset"]), ("subset_fingerprint", ["n", "seed"])):
        if mark not in summary:
            continue
        for key, rows in summary.dropna(subset=[mark]).groupby(keys):
            runs = rows.drop_duplicates(mark)
            if len(runs) > 1:
                where = ", ".join(f"{name} {value}" for name, value in zip(keys, key))
                made = ", ".join(f"{arm} {each}" for arm, each in zip(runs["arm"], runs[mark]))
                raise DataError(
                    f"{folder / 'summary.csv'} compares runs that had different images: for "
                    f"{where}, {mark} differs ({made}); run again those made before the images "
                    "changed"
                )


def _facts(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    check_unchanged(path)
    if path.stat().st_size == 0:
        return pd.DataFrame()
    with readable(path, "delete it and run `summary` again"):
        return read_table(path)


def over_draws(by_seed: Mapping[int, Any], draws: list[list[int]]) -> list[Any]:
    """Mean over the seeds of each draw, of numbers or of arrays of one shape."""
    return [np.mean([by_seed[seed] for seed in draw], axis=0) for draw in draws]


def _gaps(ours: Mapping[int, Any], theirs: Mapping[int, Any]) -> dict[int, Any]:
    """First minus second for each seed that both have."""
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
