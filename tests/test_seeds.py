"""A seed may name apart what draws its labelled subset and what draws all else."""

import re

import pandas as pd
import pytest
from small_runs import SMOKE
from workflow_runs import dry_snakemake, overlay

from cseg import experiment
from cseg.errors import ConfigError
from cseg.estimate.plan import job_counts
from cseg.paper.tables import tables

PAIRS = [0, {"subset": 0, "init": 1}, {"subset": 1, "init": 2}, 3]


def loaded(seeds: list) -> experiment.Experiment:
    return experiment.load([SMOKE], {"seeds": seeds, "label_counts": [4, "all"]})


def test_a_plain_seed_is_the_seed_of_both():
    plain, named = loaded([0, 7]), loaded([{"subset": n, "init": n} for n in (0, 7)])
    assert plain.subset_seeds == named.subset_seeds == {0: 0, 7: 7}
    assert plain.runs() == named.runs()
    assert plain.manifest() == named.manifest() | {"seeds": [0, 7]}
    assert plain.run_settings("cross", 7) == named.run_settings("cross", 7)


def test_the_init_names_the_run_and_the_subset_its_images():
    mixed = loaded(PAIRS)
    assert mixed.subset_seeds == {0: 0, 1: 0, 2: 1, 3: 3}
    assert [run.seed for run in mixed.runs() if (run.arm, run.n) == ("cross", "4")] == [0, 1, 2, 3]
    assert mixed.run_settings("cross", 2).seed == 2
    assert mixed.manifest()["seeds"] == PAIRS


def test_subsets_that_seeds_share_are_planned_once():
    assert job_counts(loaded(PAIRS), [])["subset"] == 3 * 2  # subsets 0, 1 and 3 of 4 and of all


def test_text_is_read_as_numbers():
    text = loaded(["0", {"subset": "0", "init": "1"}])
    assert text.seeds == loaded([0, {"subset": 0, "init": 1}]).seeds


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([0, 1, {"subset": 0, "init": 1}], "seeds names an init twice; give each seed an init of"),
        ([{"subset": 0, "init": 1}] * 2, "seeds is .*; give a list of different whole numbers"),
        ([{"subset": 0}], r"seeds\.0\.init is missing"),
        ([{"subset": 0, "init": -1}], r"seeds\.0\.init is -1; give a whole number from 0"),
        ([{"subset": 0.5, "init": 1}], r"seeds\.0\.subset is 0\.5; give a whole number"),
        ([{"subset": 0, "init": 1, "order": 2}], r"seeds\.0\.order is unknown; use one of subset"),
        ([[0, 1]], r"seeds\.0 is \[0, 1\]; give a whole number from 0"),
    ],
)
def test_what_is_no_seed_is_refused_in_one_sentence(seeds, said):
    with pytest.raises(ConfigError, match=said):
        loaded(seeds)


def planned_jobs(folder, seeds: str) -> list[str]:
    """The jobs of a dry run, each with the files that it waits for and lacks, sorted."""
    path = overlay(folder, f"run_arms: [scratch]\nlabel_counts: [4]\nseeds: {seeds}\n")
    done = dry_snakemake(folder, "--configfile", str(SMOKE), path, "--quiet", "host")
    assert done.returncode == 0, done.stderr
    jobs = re.findall(r"^Job \d+: (.*)\nReason: (.*)$", done.stdout, re.MULTILINE)
    assert len(jobs) > 10
    return sorted(" ".join([job, *sorted(re.split(r"[,;\s]+", why))]) for job, why in jobs)


def test_jobs_read_the_subset_of_their_seed_and_plain_seeds_keep_their_files(tmp_path):
    plain = planned_jobs(tmp_path, "[0, 1]")
    assert plain == planned_jobs(tmp_path, "[{subset: 0, init: 0}, {subset: 1, init: 1}]")
    paired = "\n".join(planned_jobs(tmp_path, "[0, {subset: 0, init: 1}]"))
    assert "n4_seed0.csv" in paired and "n4_seed1.csv" not in paired
    assert "scratch/n4/seed1/finetune.pt" in paired
    assert "subset 0 of n4" in paired


def test_the_table_says_what_the_subset_and_what_the_initial_weights_make(tmp_path):
    # cross, 4 labels: (21, 23) and (25, 27) points, as in test_statistics: sqrt 7 and sqrt 2
    # points. With all labels there is one subset, for scratch there is one run for each
    rows = [
        *[("cross", 4, seed, miou) for seed, miou in enumerate((0.21, 0.23, 0.25, 0.27))],
        *[("cross", 64, seed, miou) for seed, miou in enumerate((0.5, 0.6, 0.7, 0.8))],
        *[("scratch", 4, seed, miou) for seed, miou in ((0, 0.1), (2, 0.2))],
    ]
    table = pd.DataFrame(rows, columns=["arm", "n", "seed", "miou"])
    table["subset_fingerprint"] = [f"{n} of {seed // 2}" for n, seed in zip(table.n, table.seed)]
    table.assign(dataset="hand", n_train=64).to_csv(tmp_path / "summary.csv", index=False)
    tables(tmp_path, tmp_path / "tables")
    main = pd.read_csv(tmp_path / "tables/main.csv").set_index(["arm", "n"])
    assert main.loc[("cross", 4), "subset_std"] == pytest.approx(0.07**0.5 / 10, rel=1e-4)
    assert main.loc[("cross", 4), "init_std"] == pytest.approx(0.02**0.5 / 10, rel=1e-4)
    assert main[["subset_std", "init_std"]].notna().sum().tolist() == [1, 1]
    assert (
        "2.6 points from which images are labelled, 1.4 from initial weights and order"
        in (tmp_path / "tables/main.md").read_text()
    )
