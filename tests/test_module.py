"""The workflow as others use it: as a module, from any folder, with --config and --report."""

import subprocess
from pathlib import Path

import pytest
import yaml
from made_trees import paint_image, paint_label
from small_runs import ROOT, SMOKE
from workflow_runs import forked_snakemake

MODULE = f'module cseg:\n    snakefile: "{ROOT / "Snakefile"}"\n'
OWN = f'configfile: "{ROOT / "config.yaml"}"\nconfigfile: "{SMOKE}"\n'
USES = {
    "as it is, with its default config": MODULE + "use rule * from cseg\n",
    "with a config of the importer": OWN + MODULE + "    config: config\nuse rule * from cseg\n",
    "with a prefix and other names": (
        OWN + MODULE + '    config: config\n    prefix: "nested"\nuse rule * from cseg as cseg_*\n'
    ),
}


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Snakemake in a folder that has nothing to do with the checkout."""
    return forked_snakemake(folder, ["--cores", "2", *words])


@pytest.mark.parametrize("use", USES)
def test_another_workflow_can_import_it(tmp_path, use):
    (tmp_path / "Snakefile").write_text(USES[use])
    done = snakemake(tmp_path, "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finetune" in done.stdout + done.stderr


@pytest.mark.slow
def test_an_imported_workflow_with_a_prefix_runs_to_its_page(tmp_path):
    (tmp_path / "Snakefile").write_text(USES["with a prefix and other names"])
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("nested/results/**/summary.html"))
    assert not (tmp_path / "results" / "smoke").exists() or not list(
        (tmp_path / "results" / "smoke").rglob("*.csv")
    )


def test_the_users_own_files_stay_where_they_are_under_a_prefix(tmp_path):
    for number in range(6):
        paint_image(tmp_path / "mine" / "images" / f"{number}.png", number)
        paint_label(tmp_path / "mine" / "labels" / f"{number}.png", [0, 1])
    (tmp_path / "mine" / "train.txt").write_text("".join(f"{n}.png\n" for n in range(4)))
    (tmp_path / "mine" / "val.txt").write_text("4.png\n5.png\n")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nclasses: [{name: one}, {name: two}]\ntrain: train.txt\nval: val.txt\n"
    )
    (tmp_path / "two.txt").write_text("3.png\n1.png\n")
    changes = {
        "dataset": "folder",
        "data_dir": "mine",
        "dataset_options": {"folder": {"description": "mine.yaml"}},
        "label_counts": ["two"],
        "label_lists": {"two": "two.txt"},
        "audit_lists": ["two.txt"],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(changes))
    (tmp_path / "Snakefile").write_text(USES["with a prefix and other names"])
    made = "nested/results/smoke/mine/subsets/ntwo_seed0.csv"
    done = snakemake(tmp_path, made, "--configfile", "own.yaml")
    assert done.returncode == 0, done.stderr
    assert [row.split(",")[1] for row in (tmp_path / made).read_text().split()[1:]] == ["3", "1"]
    done = snakemake(tmp_path, "cseg_audit", "-n", "--configfile", "own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_values_inside_lists_and_mappings_of_config_are_read_as_their_types(tmp_path):
    """Snakemake hands them on as text."""
    words = ["-s", str(ROOT / "Snakefile"), "-n", "--quiet", "rules", "--configfile", str(SMOKE)]
    done = snakemake(tmp_path, *words, "--config", "seeds=[0,1]", "image={flip: false}")
    assert done.returncode == 0, done.stderr
    done = snakemake(tmp_path, *words, "--config", "image={flip: perhaps}")
    assert done.returncode == 1 and "config key image.flip" in done.stdout + done.stderr


def test_a_report_without_the_config_of_the_experiment_is_one_sentence(tmp_path):
    done = snakemake(tmp_path, "-s", str(ROOT / "Snakefile"), "--report", "report.html")
    assert done.returncode == 1
    assert "results/shapes holds nothing to report; add the --configfile that" in done.stderr
    assert "Missing metadata" not in done.stderr
