"""Published claims and values next to ours: `workflow/resources/published.csv`.

Only rows with a source. A value stands next to ours only if the setting is the same as far as our
rows say it (data set and its size, label count, encoder, start); otherwise the row is marked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cseg.errors import DataError, readable
from cseg.paper.markup import Table
from cseg.paper.results import Results
from cseg.paper.wording import points, signed
from cseg.settings.run import TEACHER_SUFFIX

COLUMNS = [
    "dataset", "measure", "method", "n", "value", "arm", "encoder", "train_size", "setting",
    "source",
]  # fmt: skip


def read_published(path: Path | None) -> pd.DataFrame:
    """Rows of `published.csv`; none if `path` is None.

    Columns: dataset ("any" for a claim), measure (`miou`, or a claim of `CLAIMS`), method, n,
    value (points, 0..100), arm (ours that is trained like the method; empty if there is none),
    encoder, train_size (images of the full training set), setting (what else differs), source.

    Raises:
        DataError: the file is missing, lacks a column, or a row has an unknown measure or no
            source.
    """
    if path is None:
        return pd.DataFrame(columns=COLUMNS)
    with readable(path, "give the path of published.csv"):
        rows = pd.read_csv(path)
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; add them")
    for number, row in enumerate(rows.itertuples(index=False), start=2):
        if row.measure not in {"miou", *CLAIMS}:
            raise DataError(
                f"{path}, line {number}: unknown measure {row.measure!r}; "
                f"use one of {', '.join(['miou', *CLAIMS])}"
            )
        if not isinstance(row.source, str) or not row.source.strip():
            raise DataError(f"{path}, line {number} has no source; name it or delete the line")
    return rows


@dataclass(frozen=True)
class Ours:
    """What our results say to a published row: a value (fraction, NaN if none) and a verdict."""

    verdict: str
    arm: str = ""
    n: int = 0
    value: float = np.nan
    text: str = "–"


def _arms(results: Results, start: str, pretrained: bool) -> list[str]:
    """Arms with this start, with or without contrastive pretraining."""
    rows = results.summary
    if not {"init", "pretrain_steps"} <= set(rows.columns):
        return []
    kept = rows[(rows["init"] == start) & ((rows["pretrain_steps"] > 0) == pretrained)]
    # arms that also see unlabelled images are not what the claims are about
    return [arm for arm in kept["arm"].unique() if not arm.endswith(TEACHER_SUFFIX)]


def _gain_above(results: Results, value: float) -> Ours:
    """Largest gain of contrastive pretraining over the first arm from random weights without it."""
    base = _arms(results, "random", False)[:1]
    gains = {
        (arm, n): gain
        for plain in base
        for arm in _arms(results, "random", True)
        for n in results.label_counts
        if np.isfinite(gain := results.difference((arm, n), (plain, n)).mean)
    }
    if not gains:
        return Ours("not run")
    arm, n = max(gains, key=lambda cell: gains[cell])
    gain = gains[arm, n]
    verdict = "reached" if gain > value else "not reached"
    return Ours(verdict, arm, n, gain, f"{signed(gain)} over {base[0]}")


def _count(results: Results, rival: str, score: Mapping) -> Ours:
    """At how many label counts the best pretrained arm scores as high as the best from `rival`."""
    sides = _arms(results, "random", True), _arms(results, rival, False)
    best = [[max((score[arm, n] for arm in arms if (arm, n) in score), default=np.nan)
             for arms in sides] for n in results.label_counts]  # fmt: skip
    both = [pair for pair in best if np.isfinite(pair).all()]
    if not both:
        return Ours("not run")
    reached = sum(ours >= theirs for ours, theirs in both)
    share = reached / len(both)
    verdict = "reached" if share >= 0.5 else "not reached"
    return Ours(verdict, value=share, text=f"at {reached} of {len(both)} label counts")


def _matches_imagenet(results: Results, _: float) -> Ours:
    score = {cell: results.mean_std(*cell)[0] for cell in results.mious}
    return _count(results, "imagenet", score)


def _separates(results: Results, _: float) -> Ours:
    rows = results.tables["separability"]
    score = {} if rows.empty else rows.groupby(["arm", "n"])["ratio"].mean().to_dict()
    return _count(results, "random", score)


CLAIMS: dict[str, Callable[[Results, float], Ours]] = {
    "largest_gain_above": _gain_above,
    "matches_imagenet": _matches_imagenet,
    "separates_classes": _separates,
}


def _miou(results: Results, row: pd.Series) -> Ours:
    """Our mIoU, only if the setting is the same."""
    if not isinstance(row["arm"], str):
        return Ours("no arm of ours is trained like it")
    arm, n = row["arm"], int(row["n"])
    mean, std = results.mean_std(arm, n)
    if np.isnan(mean):
        return Ours("not run")
    rows = results.summary[(results.summary["arm"] == arm) & (results.summary["n"] == n)]
    encoder = str(rows["encoder"].iloc[0]) if "encoder" in rows else "unknown"
    if encoder != row["encoder"]:
        return Ours(f"other setting: our encoder is {encoder}")
    if results.train_size != row["train_size"]:
        return Ours(f"other setting: our training set has {results.train_size} images")
    inside = "within spread" if abs(mean - row["value"] / 100) <= std else "outside spread"
    kept = "spread unknown, of one seed" if np.isnan(std) else inside
    return Ours(kept, arm, n, mean, points(mean))


def published_table(
    results: Results, published: pd.DataFrame
) -> tuple[pd.DataFrame, list[Table]] | str:
    """One row per published claim or value: ours if the setting is the same, and a verdict."""
    claims = published[published["dataset"].isin([results.dataset, "any"])]
    if claims.empty:
        return "published.csv has no row for this dataset, or was not given"
    rows, printed = [], []
    for _, row in claims.iterrows():
        value = float(row["value"]) / 100
        claim = CLAIMS.get(row["measure"])
        ours = claim(results, value) if claim else _miou(results, row)
        n = int(row["n"]) if row["n"] > 0 else ours.n
        setting = "–" if pd.isna(row["setting"]) else row["setting"]
        rows.append({
            "dataset": results.dataset, "measure": row["measure"], "method": row["method"],
            "n": n or np.nan, "published": value, "arm": ours.arm, "ours": ours.value,
            "verdict": ours.verdict, "setting": row["setting"], "source": row["source"],
        })  # fmt: skip
        above = "> " if row["measure"] == "largest_gain_above" else ""
        arm = f" ({ours.arm})" if ours.arm else ""
        printed.append((row["method"], str(n or "–"), above + points(value), ours.text + arm,
                        ours.verdict, setting, row["source"]))  # fmt: skip
    caption = (
        f"{results.dataset}: published claims and mIoU (%) next to ours. A claim about some or "
        "many settings is held against the label counts that have run here, on these images and at "
        "this size; many means at least half of them. Values stand next to ours only if data, "
        "label count, encoder and start agree; spread is one sample standard deviation over seeds."
    )
    header = ("method", "n", "published", "ours", "verdict", "setting", "source")
    label = f"{results.dataset}-published"
    return pd.DataFrame(rows), [
        Table(label, caption, header, tuple(printed), prose=frozenset({0, 4, 5, 6}))
    ]
