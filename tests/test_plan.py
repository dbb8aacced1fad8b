"""`cseg plan`: its jobs are Snakemake's, its sums add up, its measuring runs the real stages."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_runs import ROOT, SMOKE, small_settings
from workflow_runs import forked_snakemake

from cseg import experiment
from cseg.cli import main
from cseg.errors import ConfigError, DataError
from cseg.estimate import calibrate
from cseg.estimate.calibrate import ArmCost
from cseg.estimate.plan import (
    Sizes,
    finish,
    image_counts,
    image_size,
    job_counts,
    run_seconds,
    sharing,
)
from cseg.experiment import Run
from cseg.storage.files import write_json

CONFIGS = ROOT / "workflow" / "configs"
COST = ArmCost(0.5, 0.25, 0.01, 2.0, 800.0, 4.0, 0.001, "made up")


def loaded(tmp_path, *files, **changes):
    return experiment.load(files, {"results_dir": str(tmp_path / "results"), **changes})


def planned(config, unlabelled=0):
    return run_seconds(config, Sizes(512, 200, unlabelled), dict.fromkeys(config.arms, COST))


def counted_by_snakemake(tmp_path, files, extra):
    words = ["-n", "--quiet", "rules", "--configfile", *map(str, files), "--config",
             f"results_dir={tmp_path / 'results'}", *extra]  # fmt: skip
    said = forked_snakemake(ROOT, words)
    assert said.returncode == 0, said.stderr
    rows = re.findall(r"^(\w+)\s+(\d+)$", said.stdout + said.stderr, re.M)
    return {name: int(count) for name, count in rows if name != "total"}


@pytest.mark.parametrize(
    ("files", "extra"),
    [
        ([SMOKE], []),
        pytest.param([CONFIGS / "semi_supervised.yaml"], [], marks=pytest.mark.slow),
        ([CONFIGS / "semi_supervised.yaml"], ["run_arms=[cross_pseudo]", "prepared_cache=True"]),
        pytest.param([CONFIGS / "evidence" / "shapes.yaml"], [], marks=pytest.mark.slow),
    ],
)
def test_its_jobs_are_those_of_a_dry_run(tmp_path, files, extra):
    changes = {"run_arms": ["cross_pseudo"], "prepared_cache": True} if extra else {}
    config = loaded(tmp_path, *files, **changes)
    counts = job_counts(config, planned(config))
    assert counts == counted_by_snakemake(tmp_path, files, extra)


def test_the_time_of_a_run_is_the_sum_of_its_parts(tmp_path):
    config = loaded(tmp_path, run_arms=["cross", "scratch"], seeds=[0], label_counts=[16])
    by_arm = {run.arm: seconds for run, seconds in planned(config).items()}
    assert by_arm["cross"] == pytest.approx(600 * 0.5 + 600 * 0.25 + 216 * 0.01 + 3 * 2)
    assert by_arm["scratch"] == pytest.approx(1200 * 0.25 + 216 * 0.01 + 2 * 2)


def test_a_pupil_labels_and_waits_for_its_teacher(tmp_path):
    config = loaded(tmp_path, run_arms=["scratch_pseudo"], seeds=[0], label_counts=[16])
    both = planned(config)
    teacher, pupil = both
    assert teacher.stages == ("finetune",)
    assert pupil.stages == ("pseudolabel", "finetune", "evaluate")
    assert both[pupil] == pytest.approx(1200 * 0.25 + (512 - 16 + 216) * 0.01 + 3 * 2)
    assert finish(both, 8) == pytest.approx(both[teacher] + both[pupil])
    more = planned(config, unlabelled=300)
    assert more[pupil] == pytest.approx(both[pupil] + 300 * 0.01)


@pytest.mark.parametrize(("devices", "expected"), [(1, 12), (2, 7), (3, 5), (8, 5)])
def test_the_finish_on_some_devices(devices, expected):
    runs = {
        Run(arm="scratch", n="4", seed=seed, stages=("finetune",)): seconds
        for seed, seconds in enumerate([5, 4, 3])
    }
    assert finish(runs, devices) == expected
    assert finish(runs, devices) >= max(12 / devices, 5)


@pytest.mark.slow
def test_it_measures_saves_and_plans_again_without_measuring(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = tmp_path / "costs.json"
    assert main(["plan", "--configfile", str(SMOKE), "--save", str(saved)]) == 0
    first = capsys.readouterr().out
    assert main(["plan", "--configfile", str(SMOKE), "--calibration", str(saved)]) == 0
    assert capsys.readouterr().out == first
    assert re.search(r"^\| cross \| \d+ \| \d+ \| [\d.e-]+ \|", first, re.M)
    other = ["plan", "--configfile", str(CONFIGS / "semi_supervised.yaml")]
    assert main([*other, "--calibration", str(saved)]) == 1
    assert "lacks arm scratch_pseudo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device_mib", "memory_mib", "jobs"),
    [(81920, 800, 51), (81920, 20000, 3), (8192, 3000, 0), (0, 800, 0)],  # 0: says nothing
)
def test_it_says_how_many_jobs_fit_on_a_gpu(device_mib, memory_mib, jobs):
    small = replace(COST, device_mib=device_mib)
    told = sharing([small, replace(small, memory_mib=memory_mib)])
    assert bool(told) == bool(jobs)
    assert not jobs or f"`jobs_per_gpu` to at most {jobs} " in told[1]


def test_the_run_that_compiles_is_not_timed(tmp_path, monkeypatch):
    took = iter([60.0, 0.4, 0.4 + 0.1 * 40])  # seconds of three runs; the first one compiles
    runs = []

    def train(inputs, settings, *, out, threads, title):
        runs.append(settings.finetune.steps)
        write_json(out.cost, {"seconds": next(took)})

    monkeypatch.setattr(calibrate, "finetune", train)
    seconds, _ = calibrate.step_seconds("finetune", small_settings("scratch"), None, tmp_path)
    assert runs == [4, 4, 44]
    assert seconds == pytest.approx(0.1)


def test_what_cannot_be_known_yet_is_said(tmp_path):
    config = loaded(tmp_path, CONFIGS / "camvid.yaml")
    with pytest.raises(ConfigError, match="--size HEIGHT WIDTH"):
        image_size(config)
    assert image_counts(config) == Sizes(367, 101)
    indexed = {"train_size": 5, "val_size": 4, "unlabelled_size": 3}
    write_json(Path(config.results) / "dataset.json", indexed)
    assert image_counts(config) == Sizes(5, 4, 3)


def test_described_images_are_counted_before_their_index_exists(tmp_path):
    for number in range(10):
        size = (40, 30) if number else (400, 300)
        for folder, mode in (("images", "RGB"), ("labels", "L"), ("more", "RGB")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new(mode, size).save(tmp_path / folder / f"{number}.png")
    classes = [{"name": "a"}, {"name": "b"}]
    described = {"classes": classes, "val_share": 0.3, "unlabelled": "more"}
    options = {"description": described, "exclude": ["3"]}
    changes = {"dataset": "folder", "dataset_options": {"folder": options}}
    own = loaded(tmp_path, data_dir=str(tmp_path), **changes)
    assert vars(image_counts(own)) == {"train": 6, "val": 3, "unlabelled": 10}
    assert image_size(own) == (30, 40)
    twice = loaded(tmp_path, data_dir=str(tmp_path), label_counts=["1/2", 3], **changes)
    with pytest.raises(ConfigError, match="label_counts has 1/2 and 3, which mean 3 images each"):
        run_seconds(twice, image_counts(twice), dict.fromkeys(twice.arms, COST))
    assert not list(tmp_path.glob("results*"))
    gone = loaded(tmp_path, data_dir=str(tmp_path / "gone"), **changes)
    with pytest.raises(DataError, match="gone does not exist; correct data_dir"):
        image_counts(gone)
