"""What a config will cost: images, jobs, device-hours, disk, memory and the shortest finish."""

import heapq
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from cseg.datasets import dataset_module, typed_options
from cseg.datasets.decode import open_image
from cseg.datasets.image_files import read_lines
from cseg.datasets.samples import SPLITS, UNLABELLED, Sample
from cseg.errors import ConfigError, CsegError
from cseg.estimate.calibrate import ArmCost, calibrate
from cseg.estimate.flops import counted_costs
from cseg.experiment import Experiment, Run
from cseg.settings.keys import build
from cseg.settings.label_counts import Count, equal_counts, resolve_count
from cseg.stages.fetch import listed_samples
from cseg.storage.files import read_json, write_json
from cseg.storage.index_and_subset import read_index
from cseg.storage.tables import markdown, rounded

# every config has them once; the target `all` is a job of its own
ONCE = ("fetch", "index", "features", "best", "manifest", "summary", "figures", "tables", "all")

CONTEXT_MIB = 600  # that CUDA and its libraries take in each process
KEPT = 1.25  # memory of the allocator, divided by the peak of what is in use
OPENED = 16  # images whose sizes stand for all, while there is no index


@dataclass(frozen=True)
class Sizes:
    """Images of the dataset: how many to train on, to evaluate on, and without label."""

    train: int
    val: int
    unlabelled: int = 0


def image_counts(experiment: Experiment) -> Sizes:
    """How many images there are: of the index, as published, or of the files that are described.

    Raises:
        DataError: the described files are not there.
    """
    facts = Path(experiment.results) / "dataset.json"
    if facts.exists():
        found = read_json(facts)
        return Sizes(found["train_size"], found["val_size"], found.get("unlabelled_size", 0))
    known = experiment.info.split_sizes
    if "train" in known and "val" in known:
        return Sizes(known["train"], known["val"])
    splits = [sample.split for sample in _described(experiment)]
    return Sizes(*(splits.count(split) for split in (*SPLITS, UNLABELLED)))


def image_size(experiment: Experiment) -> tuple[int, int]:
    """Height and width of the median image: of the index, of the options, or of the first files.

    Raises:
        ConfigError: none of them says so.
        DataError: the described files are not there, or one cannot be read.
    """
    index = Path(experiment.results) / "index.csv"
    if index.exists():
        table = read_index(index)
        return int(table["height"].median()), int(table["width"].median())
    side = experiment.options.get("size")
    if side:
        return int(side), int(side)
    samples = _described(experiment)[:OPENED]
    if samples:
        sizes = [open_image(s.image, info=experiment.info).image.size for s in samples]
        return int(median(h for _, h in sizes)), int(median(w for w, _ in sizes))
    raise ConfigError(
        f"the size of the images of {experiment.name} is not known before {index} exists; "
        "give it: --size HEIGHT WIDTH"
    )


def _described(experiment: Experiment) -> list[Sample]:
    """The samples of a dataset that the user describes; none of a published dataset.

    Nothing is downloaded, drawn or opened, so no work folder is needed.
    """
    if not hasattr(dataset_module(experiment.dataset), "sources"):
        return []
    root = Path(experiment.data_dir).expanduser()
    options = typed_options(experiment.dataset, experiment.options)
    return listed_samples(experiment.dataset, root, work=Path(), options=options)


def plan(
    experiment: Experiment,
    devices: int,
    *,
    size_HW: tuple[int, int] | None = None,
    calibration: Path | None = None,
    save: Path | None = None,
    teraflops: float | None = None,
) -> str:
    """The plan as text: a table with a row per arm, totals, and the finish on `devices`.

    `devices` runs go on at a time. Without `size_HW` images have the size that the index says, or
    your files. Costs are read from `calibration`, which another machine saved; or they are counted
    for a device that reaches `teraflops`; or they are measured here. `save` is where to keep them.

    Raises:
        ConfigError: sizes are not known before the dataset is there, two label counts mean as
            many images, or the calibration lacks an arm or is damaged; each names the remedy.
    """
    if save is not None and save.exists():
        try:
            read_costs(save)
        except CsegError as error:
            raise ConfigError(
                f"--save names {save}, which holds something else than costs; give another file"
            ) from error
    sizes = image_counts(experiment)
    arms = planned_arms(experiment)
    if calibration is not None:
        known = read_costs(calibration)
        for arm in arms:
            if arm not in known:
                raise ConfigError(
                    f"calibration {calibration} lacks arm {arm}; make it from the same config"
                )
        costs = {arm: known[arm] for arm in arms}
    else:
        size = size_HW or image_size(experiment)
        if teraflops is not None:
            costs = counted_costs(experiment, arms, size_HW=size, teraflops=teraflops)
        else:
            costs = calibrate(experiment, arms, size_HW=size, devices=devices)
    if save is not None:
        write_json(save, {arm: asdict(cost) for arm, cost in costs.items()})
    return render(experiment, sizes, costs, devices)


def read_costs(path: Path) -> dict[str, ArmCost]:
    """Costs by arm, as `plan` saved them.

    Raises:
        CsegError: the file holds something else.
    """
    saved = read_json(path)
    if not isinstance(saved, dict):
        raise ConfigError(f"{path} holds no costs; give a file that `cseg plan --save` wrote")
    return {arm: build(ArmCost, cost, f"{path}: {arm}") for arm, cost in saved.items()}


def planned_arms(experiment: Experiment) -> tuple[str, ...]:
    """The arms that run, those first that others wait for."""
    arms = experiment.helpers + experiment.run_arms
    return tuple(sorted(arms, key=lambda arm: experiment.arms[arm].teacher is not None))


def run_seconds(
    experiment: Experiment, sizes: Sizes, costs: Mapping[str, ArmCost]
) -> dict[Run, float]:
    """Seconds of every run on one device, from its first job's start to its last one's end."""
    labelled = {token: _labelled(experiment, n, sizes) for token, n in experiment.counts.items()}
    counts = [n for n in experiment.label_counts if n not in experiment.label_lists]
    equal = equal_counts(counts, sizes.train)
    if equal:
        raise ConfigError(
            f"config key label_counts has {equal[0]} and {equal[1]}, which mean "
            f"{resolve_count(equal[0], sizes.train)} images each and would be one row of the "
            "tables; keep one of the two"
        )
    return {
        run: _seconds(experiment, run, labelled[run.n], sizes, costs[run.arm])
        for run in experiment.runs(planned_arms(experiment))
    }


def _labelled(experiment: Experiment, n: Count, sizes: Sizes) -> int:
    if n in experiment.label_lists:
        return len(read_lines(experiment.label_lists[str(n)]))
    return resolve_count(n, sizes.train)


def _seconds(experiment: Experiment, run: Run, labelled: int, sizes: Sizes, cost: ArmCost) -> float:
    settings = experiment.run_settings(run.arm, run.seed)
    finetune, images = settings.finetune, sizes.train - labelled + sizes.unlabelled
    taught = settings.pseudolabel.images if settings.pseudolabel else None
    measured = finetune.steps // finetune.validate_every if finetune.validate_every else 0
    trained = min(labelled, settings.evaluate.train_images)
    seconds = {
        "pseudolabel": cost.image * min(images, taught or images),
        "pretrain": cost.pretrain_step * settings.pretrain.steps,
        "finetune": cost.finetune_step * finetune.steps + cost.image * measured * sizes.val,
        "evaluate": cost.image * (sizes.val + trained),
    }
    return sum(seconds[stage] + cost.job for stage in run.stages)


def finish(seconds: Mapping[Run, float], devices: int) -> float:
    """Seconds until the last run ends when `devices` take the longest run that may start."""
    ends: dict[tuple[str, str, int], float] = {}
    waiting = sorted(seconds, key=lambda run: -seconds[run])
    free = [0.0] * devices
    while waiting:
        now = heapq.heappop(free)
        for run in waiting:
            if all(ends.get((arm, run.n, run.seed), math.inf) <= now for arm in run.needs):
                waiting.remove(run)
                end = ends[run.arm, run.n, run.seed] = now + seconds[run]
                break
        else:  # wait for the run that ends first
            end = min(end for end in ends.values() if end > now)
        heapq.heappush(free, end)
    return max(free)


def job_counts(experiment: Experiment, runs: Collection[Run]) -> dict[str, int]:
    """How many jobs each rule has, as `snakemake -n` counts them on an empty results folder."""
    counts = Counter(ONCE)
    counts["subset"] = len(set(experiment.subset_seeds.values())) * len(experiment.counts)
    counts["start"] = len({experiment.starts[run.arm] for run in runs})
    if experiment.prepared_cache:
        counts["prepare"] = 1
    for run in runs:
        counts.update(run.stages)
    return counts


def render(experiment: Experiment, sizes: Sizes, costs: Mapping[str, ArmCost], devices: int) -> str:
    """The table and the totals, as Markdown."""
    seconds = run_seconds(experiment, sizes, costs)
    header = ("arm", "runs", "jobs", "hours per run", "device-hours", "disk GB", "peak memory GB")
    rows = []
    hours = disk = 0.0
    for arm in planned_arms(experiment):
        runs = [run for run in seconds if run.arm == arm]
        evaluated = arm in experiment.run_arms
        spent = sum(seconds[run] for run in runs) / 3600
        each = costs[arm].weights_mib + evaluated * costs[arm].prediction_mib * sizes.val
        stored = len(runs) * each * 2**20 / 1e9
        jobs, peak = sum(len(run.stages) for run in runs), costs[arm].memory_mib * 2**20 / 1e9
        shown = ((spent / len(runs), 3), (spent, 3), (stored, 2), (peak, 2))
        rows.append((arm, len(runs), jobs, *(rounded(*each) for each in shown)))
        hours, disk = hours + spent, disk + stored
    counts = job_counts(experiment, seconds)
    named = ", ".join(sorted({cost.device for cost in costs.values()}))
    least = finish(seconds, devices) / 3600
    return "\n".join(
        [
            *markdown(header, rows),
            "",
            f"{sum(counts.values())} jobs; {rounded(hours, 3)} device-hours on {named}; "
            f"{rounded(disk, 2)} GB of weights and predictions, at most; {rounded(least, 3)} hours "
            f"on {devices} of these devices at best. Not in the hours: the download, the index, "
            "feature sampling, tables and figures.",
            *sharing(costs.values()),
        ]
    )


def sharing(costs: Collection[ArmCost]) -> list[str]:
    """How many of the jobs fit into the memory of the GPU that they were measured on.

    Each takes its peak, what the allocator keeps beyond it, and CUDA's own memory.
    """
    room = min(cost.device_mib for cost in costs)
    each = CONTEXT_MIB + KEPT * max(cost.memory_mib for cost in costs)
    jobs = int(room // each)
    if jobs < 2:
        return []
    return [
        "",
        f"{jobs} of these jobs fit into the memory of one GPU. If a job leaves the GPU idle, set "
        f"`jobs_per_gpu` to at most {jobs} and to the CPU cores per GPU.",
    ]
