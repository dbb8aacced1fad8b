"""A painted dataset and settings so small that a stage runs in a second."""

from pathlib import Path
from typing import Any

from cseg import experiment
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.subset import subset

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "workflow" / "configs" / "smoke.yaml"


def small_settings(arm: str = "cross", seed: int = 0, **blocks: dict[str, Any]) -> dict[str, Any]:
    """The smoke config's settings of one arm, with some keys of some blocks replaced."""
    base = experiment.merge(experiment.load([SMOKE]), {"device": "cpu"})
    return experiment.merge(experiment.arm_settings(base, arm, seed), blocks)


def small_data(folder: Path, n: int = 4, seed: int = 0) -> tuple[Path, Path, Path]:
    """Paint, index and sample; returns the index, the dataset's facts and the subset."""
    options = experiment.load([SMOKE])["dataset_options"]["shapes"]
    fetch("shapes", folder / "data", options, folder / "fetch.json")
    paths = folder / "index.csv", folder / "dataset.json", folder / f"n{n}_seed{seed}.csv"
    index(folder / "fetch.json", *paths[:2], workers=1)
    subset(*paths[:2], n, seed, paths[2])
    return paths
