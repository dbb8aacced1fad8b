"""The workflow as its users run it: dry runs, a whole small run, and what goes wrong."""

import shutil

import pandas as pd
import pytest
import yaml
from disturbed_runs import copied
from shared_data import shared_data
from small_runs import ROOT, SMOKE
from workflow_runs import dry_snakemake, overlay, snakemake


@pytest.mark.slow
@pytest.mark.parametrize("target", ["all", "paper_tables", "smoke"])
def test_targets_exist(tmp_path, target):
    done = dry_snakemake(tmp_path, target, "--quiet", "all", "--configfile", str(SMOKE))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def smoke(undisturbed, tmp_path_factory):
    """A copy of one whole run of the smoke config."""
    return copied(undisturbed, tmp_path_factory.mktemp("smoke"))


@pytest.mark.slow
def test_the_console_is_a_list_of_jobs_and_of_what_is_left(smoke):
    said = (smoke / "said").read_text()
    assert ": finetune shapes/cross/n4/seed0\n" in said and "16 of 16 steps (100%) done" in said
    assert "2 of 2 runs are done, 0 have begun, 0 are to come\n" in said
    for word in ("reason:", "wildcards:", "resources:", "input:", "output:", "Host:"):
        assert word not in said, word
    assert len(said) < 5000


@pytest.mark.slow
def test_a_whole_run_writes_every_promised_file(smoke):
    results = smoke / "results" / "smoke" / "shapes"
    summary = pd.read_csv(results / "summary.csv")
    assert list(summary.columns[:5]) == ["dataset", "arm", "n", "seed", "miou"]
    assert set(summary["arm"]) == {"scratch", "cross"} and summary["miou"].between(0, 1).all()
    for name in ("tables/main.csv", "tables/main.md", "tables/main.tex", "summary.html",
                 "figures/label_efficiency.png", "figures/qualitative.png", "index.csv",
                 "subsets/n4_seed0.csv", "cross/n4/seed0/per_class.csv"):  # fmt: skip
        assert (results / name).stat().st_size > 0, name
    assert not list(results.rglob("*.tmp*")) and not list(results.rglob("*.state"))


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(smoke):
    done = snakemake(smoke, "smoke", "--configfile", str(SMOKE))
    assert done.returncode == 0 and "Nothing to be done" in done.stderr


@pytest.mark.slow
def test_a_changed_setting_reruns_what_depends_on_it_and_no_more(smoke):
    path = smoke / "lr.yaml"
    path.write_text("pretrain: {lr: 0.05}\n")
    done = dry_snakemake(smoke, "--configfile", str(SMOKE), str(path))
    jobs = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()
            if line.split()[:1] and line.split()[0] in
            {"pretrain", "finetune", "evaluate", "index", "subset"}
            and len(line.split()) == 2 and line.split()[1].isdigit()}  # fmt: skip
    # scratch and cross both see the block in their settings; only cross pretrains
    assert jobs["pretrain"] == 1 and "index" not in jobs and "subset" not in jobs


@pytest.mark.slow
def test_two_runs_agree_to_the_byte_but_for_time(smoke, tmp_path):
    done = snakemake(tmp_path, "smoke", "--configfile", str(SMOKE))
    assert done.returncode == 0, done.stderr
    first, second = (
        pd.read_csv(folder / "results" / "smoke" / "shapes" / "summary.csv", dtype=str)
        for folder in (smoke, tmp_path)
    )
    time = {column for column in first.columns if column.endswith("_seconds")}
    differing = {column for column in first.columns if not first[column].equals(second[column])}
    assert len(time) == 3 and differing <= time


@pytest.mark.slow
def test_the_report_holds_tables_and_figures(smoke):
    done = snakemake(
        smoke, "smoke", "--configfile", str(SMOKE), "--report", str(smoke / "report.html")
    )
    assert done.returncode == 0, done.stderr
    page = (smoke / "report.html").read_text()
    for word in ("label_efficiency.png", "main.html", "2 Tables", "3 Figures", "summary.html"):
        assert word in page, word


def test_ablations_need_a_plan(tmp_path):
    done = dry_snakemake(tmp_path, "ablations", "--configfile", str(SMOKE))
    assert done.returncode != 0 and "workflow/configs/ablations.yaml" in done.stdout + done.stderr


@pytest.mark.long
def test_ablations_become_a_table(tmp_path):
    whole = yaml.safe_load((ROOT / "workflow" / "configs" / "ablations.yaml").read_text())
    groups = ("projection head", "budget of no pretraining")
    plan = {group: whole["ablations"][group] for group in groups}
    arms = sorted({arm for settings in plan.values() for arm in settings.values()})
    tiny = {"ablations": plan, "run_arms": arms, "arms": whole["arms"]}
    done = snakemake(tmp_path, "ablations", "--configfile", str(SMOKE),
                     overlay(tmp_path, yaml.safe_dump(tiny, sort_keys=False)))  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "smoke" / "shapes"
    rows = pd.read_csv(results / "summary.csv").set_index("arm")
    assert set(rows["parameters"]) == {rows["parameters"].iloc[0]}  # the head is gone by then
    steps = 6  # of each stage in the smoke config; a contrastive step costs 1.9 of the others
    assert rows["finetune_steps"].to_dict() == {
        "cross": steps, "cross_released": steps, "scratch": 2 * steps, "scratch_short": steps,
        "scratch_long": round((1 + 1.9) * steps),
    }  # fmt: skip
    table = pd.read_csv(results / "tables" / "ablations.csv")
    assert list(dict.fromkeys(table["group"])) == list(groups)
    assert list(table["setting"]) == [setting for group in plan.values() for setting in group]
    assert (table["runs"] == 1).all() and table["difference"].notna().sum() == 4
    assert (results / "tables" / "ablations.html").stat().st_size > 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("finetune: {learning_rate: 1}", "finetune.learning_rate is unknown"),
        pytest.param(
            "label_counts: [25]", "25 is more than the 24 training images", marks=pytest.mark.slow
        ),
        pytest.param("run_arms: [sideways]", "run_arms names 'sideways'", marks=pytest.mark.slow),
        pytest.param("dataset: mnist", "dataset is 'mnist'", marks=pytest.mark.slow),
        pytest.param(
            "model: {encoder: resnet50.a1_in1k}",
            "model.encoder is 'resnet50.a1_in1k'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "seeds: zero",
            "seeds is 'zero'; give a list of different whole numbers",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_config_stops_before_any_job(tmp_path, text, said, tried):
    done = snakemake(tmp_path, "--configfile", str(SMOKE), overlay(tmp_path, text))
    assert done.returncode != 0
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
    tried("Fuzzed configs", "wrong configs written by hand", 1, "refused by key before any job")


@pytest.mark.slow
@pytest.mark.fault
def test_a_missing_data_dir_is_one_sentence(tmp_path, tried):
    text = "dataset: camvid\ndata_dir: nowhere\nlabel_counts: [4]\n"
    done = snakemake(tmp_path, "--configfile", str(SMOKE), overlay(tmp_path, text))
    assert done.returncode != 0 and "error: data_dir nowhere does not exist" in done.stderr
    assert not list((tmp_path / "results").rglob("fetch.json"))
    tried(
        "Surroundings", "data_dir does not exist", 1, "named in one sentence, no job left half done"
    )


@pytest.mark.slow
@pytest.mark.fault
def test_a_damaged_image_is_named(tmp_path, tried):
    data = snakemake(tmp_path, "results/smoke/shapes/fetch.json", "--configfile", str(SMOKE))
    assert data.returncode == 0, data.stderr
    victim = next((tmp_path / "data").rglob("train_00003.png"))
    victim.write_bytes(victim.read_bytes()[:40])
    done = snakemake(tmp_path, "--configfile", str(SMOKE))
    assert done.returncode != 0 and "train_00003.png" in done.stderr
    assert not (tmp_path / "results" / "smoke" / "shapes" / "index.csv").exists()
    tried("Damaged files", "an image cut short before it is indexed", 1, "named; no index written")


@pytest.mark.slow
@pytest.mark.fault
def test_damaged_weights_stop_the_evaluation_by_name(smoke, tmp_path, tried):
    copy = tmp_path / "copy"
    shutil.copytree(smoke, copy)
    weights = copy / "results/smoke/shapes/cross/n4/seed0/finetune.pt"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    done = snakemake(copy, "--configfile", str(SMOKE))
    assert done.returncode != 0 and "finetune.pt is damaged" in done.stderr
    tried("Damaged files", "finetune.pt cut short before evaluation", 1, "named; no row written")


@pytest.mark.slow
def test_real_street_scenes_run_through_the_same_dag(tmp_path):
    data = shared_data("camvid")
    text = f"dataset: camvid\ndata_dir: {data}\nimage: {{short_side: 36, crop: [32, 32]}}\n"
    done = snakemake(tmp_path, "--configfile", str(SMOKE), overlay(tmp_path, text))
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "results/smoke/camvid/summary.csv").iloc[0]
    assert row["n_train"] == 367 and 0 <= row["miou"] <= 1
