"""Which start is best, on real images at a GPU's scale, in what time there is.

    PYTHONPATH=. python benchmarks/gpu_evidence.py --data FOLDER [--config FILE] [--weights FILE]

It calls the stages as functions, so it needs no workflow; docs/speed.md says what it runs. A run is
saved every quarter of a minute and at SIGTERM, and writes OUT/evidence/ARM_nN_seedS.json at its
end. With --tiny it runs at a toy size, which says nothing of the arms.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from loss import called

from cseg import experiment
from cseg.errors import CsegError
from cseg.experiment import Experiment, Run
from cseg.settings.keys import plain
from cseg.settings.network import StartSettings
from cseg.settings.run import RunSettings
from cseg.stages.evaluate import EvaluateOutputs, evaluate
from cseg.stages.fetch import fetch
from cseg.stages.finetune import finetune
from cseg.stages.index import index
from cseg.stages.pretrain import pretrain
from cseg.stages.run import RunInputs, TrainingOutputs
from cseg.stages.start import start
from cseg.stages.subset import subset
from cseg.storage.files import fingerprint, read_json, sha256_file, write_json
from cseg.storage.provenance import source_fingerprint

CONFIG = Path(__file__).parents[1] / "workflow" / "configs" / "voc2012_animals.yaml"
ARMS = ("scratch", "cross", "imagenet")
LOOP = {"steps": 1000, "batch": 16, "log_every": 20, "checkpoint_minutes": 0.25, "cache_mib": 2048}
SCALE = {
    "precision": "bf16",
    "label_counts": ["1/8"],
    "seeds": [0, 1, 2],
    "image": {"short_side": 257, "crop": [257, 257], "scale": [0.5, 2.0]},
    "model": {
        "encoder": "resnet50", "output_stride": 16, "aspp_channels": 256, "aspp_rates": [6, 12, 18],
        "low_channels": 48, "decoder_channels": 256, "projection_channels": 256,
    },
    "pretrain": {**LOOP, "grid": [33, 33]},
    "finetune": LOOP,
}  # fmt: skip
SHORT = {"steps": 4, "batch": 2, "log_every": 1, "checkpoint_minutes": 0.0001, "workers": 0,
         "warmup_steps": 0}  # fmt: skip
TINY = {
    "label_counts": ["all"],
    "seeds": [0],
    "image": {"short_side": 32, "crop": [32, 32]},
    "pretrain": {**SHORT, "grid": [8, 8]},
    "finetune": SHORT,
}


def planned(
    data: Path, configs: Sequence[Path], weights: Path | None, device: str, tiny: bool
) -> Experiment:
    """The experiment: arms and images of the configs, at the scale of this script."""
    changes: dict[str, Any] = {**(TINY if tiny else SCALE), "data_dir": str(data),
                               "device": device, "run_arms": list(ARMS)}  # fmt: skip
    if weights is not None:
        sum_ = sha256_file(weights) if weights.is_file() else None
        changes["arms"] = {"imagenet": {"init": {"weights": str(weights), "sha256": sum_}}}
    return experiment.load(configs, changes)


def can_start(whole: Experiment, arm: str, work: Path) -> bool:
    """Whether the weights of an arm are there; prints why not."""
    try:
        settings = StartSettings(model=whole.model, init=whole.arms[arm].init)
        start(settings, out=work / f"start_{arm}.json")
    except CsegError as error:
        print(f"{arm}: {error}", flush=True)
        return False
    return True


def run_stage(
    stage: str, data: RunInputs, settings: RunSettings, folder: Path, arm: str, threads: int
) -> None:
    """Run one stage as a job does; the files of the run are in `folder`."""
    done = {name: TrainingOutputs.of(folder, name) for name in settings.trainings}
    if stage == "evaluate":
        evaluate(
            data, settings, arm=arm, weights=done["finetune"].weights,
            costs=[out.cost for out in done.values()], out=EvaluateOutputs.of(folder),
            threads=threads,
        )  # fmt: skip
        return
    data = replace(data, pretrained=done["pretrain"].weights if "pretrain" in done else None)
    train = pretrain if stage == "pretrain" else finetune
    train(data, settings, out=done[stage], threads=threads, title=f"{arm} {folder.name}")


def trained(whole: Experiment, run: Run, work: Path, threads: int) -> dict[str, Any]:
    """Do what is left of a run; returns its mIoU, curves and costs."""
    settings = whole.run_settings(run.arm, run.seed)
    folder = work / run.arm / f"n{run.n}" / f"seed{run.seed}"
    listed = work / f"n{run.n}_seed{run.seed}.csv".replace("/", "-")
    data = RunInputs(index=work / "index.csv", dataset=work / "dataset.json", subset=listed)
    if not listed.exists():
        subset(data.index, data.dataset, n=whole.counts[run.n], seed=run.seed, out=listed)
    done = {stage: TrainingOutputs.of(folder, stage) for stage in settings.trainings}
    left = [stage for stage, out in done.items() if not out.cost.exists()]  # its last file
    for stage in (*left, "evaluate"):
        run_stage(stage, data, settings, folder, run.arm, threads)
    row = pd.read_csv(EvaluateOutputs.of(folder).metrics).iloc[0]
    return {
        "arm": run.arm, "n": int(row["n"]), "seed": run.seed, "miou": float(row["miou"]),
        "train_miou": float(row["train_miou"]),
        "costs": {stage: read_json(out.cost) for stage, out in done.items()},
        "curves": {stage: pd.read_csv(out.curve).to_dict("list") for stage, out in done.items()},
    }  # fmt: skip


def facts_of(device: str, tiny: bool) -> dict[str, Any]:
    """Code, card and size that a run belongs to."""
    return {
        "source": source_fingerprint(),
        "device": called(torch.device(device)),
        "gpu": device == "cuda",
        "tiny": tiny,
        "torch": torch.__version__,
    }


def measured(out: Path, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each run of these facts that has a file below OUT/evidence."""
    every = [read_json(path) for path in sorted((out / "evidence").glob("*.json"))]
    keys = ("arm", "n", "seed", "miou", "train_miou")
    return [{key: found[key] for key in keys} for found in every if found["facts"] == facts]


def run(whole: Experiment, out: Path, facts: dict[str, Any], threads: int) -> None:
    """Do every run that has no file yet.

    Runs go by seed, so that the arms stay comparable wherever the time ends.
    """
    mark = fingerprint([facts, plain(whole)])[:12]
    work = out / f"work_{mark}"
    made = work / "fetch.json", work / "index.csv"
    if not (work / "dataset.json").exists():
        fetch(whole.dataset, whole.data_dir, options=whole.options, out=made[0])
        index(*made, dataset_json=work / "dataset.json", workers=4)
    arms = [arm for arm in ARMS if can_start(whole, arm, work)]
    runs = [run for run in whole.runs() if run.arm in arms]
    for one in sorted(runs, key=lambda run: (run.seed, arms.index(run.arm))):
        name = f"{one.arm}_n{one.n}_seed{one.seed}".replace("/", "-")
        path = out / f"{name}.json"
        if not path.exists() or read_json(path)["mark"] != mark:
            found = trained(whole, one, work, threads)
            write_json(path, {"mark": mark, "facts": facts, **found})
            print(f"{name}: mIoU {found['miou']:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real images")
    parser.add_argument("--config", type=Path, nargs="+", default=[CONFIG], help="of the images")
    parser.add_argument("--weights", type=Path, help="ImageNet weights; timm's if not given")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--tiny", action="store_true", help="toy sizes, for a test")
    args = parser.parse_args()
    if not args.data.is_dir():
        raise SystemExit(f"--data names {args.data}, which is no folder; give that of the images")
    whole = planned(args.data, args.config, args.weights, args.device, args.tiny)
    try:
        run(whole, args.out / "evidence", facts_of(args.device, args.tiny), args.threads)
    except CsegError as error:
        raise SystemExit(f"evidence: {error}") from error


if __name__ == "__main__":
    main()
