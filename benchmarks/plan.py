"""Plan a small experiment, run it, and compare.

Both happen on this machine, two runs at a time; the result is a ratio for each arm.

    python benchmarks/plan.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from cseg import experiment
from cseg.estimate.calibrate import calibrate
from cseg.estimate.plan import image_counts, image_size, run_seconds
from cseg.storage.provenance import git_revision

ROOT = Path(__file__).parent.parent
OVERLAY = {
    "run_arms": ["scratch", "cross"], "label_counts": [16], "seeds": [0, 1], "device": "cpu",
    "pretrain": {"steps": 500}, "finetune": {"steps": 500},
}  # fmt: skip


def main() -> None:
    """Write benchmarks/results/plan.csv: device-seconds planned and taken, by arm."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overlay = folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump({**OVERLAY, "results_dir": str(folder / "results")}))
        planned = experiment.load([overlay])
        costs = calibrate(planned, planned.run_arms, size_HW=image_size(planned), devices=2)
        runs = run_seconds(planned, image_counts(planned), costs)
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(overlay)]
        subprocess.run(command, cwd=ROOT, check=True)
        rows = [_row(folder / "results" / "shapes", arm, runs) for arm in planned.run_arms]
    table = pd.DataFrame(rows).assign(
        device=next(iter(costs.values())).device, git_revision=git_revision()
    )
    table.to_csv(ROOT / "benchmarks" / "results" / "plan.csv", index=False)
    print(table.to_string())


def _row(results: Path, arm: str, runs: dict) -> dict[str, object]:
    files = list(results.glob(f"{arm}/*/*/benchmarks/*.tsv"))
    taken = sum(pd.read_csv(path, sep="\t")["s"].iloc[0] for path in files)
    planned = sum(seconds for run, seconds in runs.items() if run.arm == arm)
    return {"arm": arm, "jobs": len(files), "planned_seconds": round(planned, 1),
            "taken_seconds": round(taken, 1), "ratio": round(planned / taken, 3)}  # fmt: skip


if __name__ == "__main__":
    main()
