"""What an installed copy needs to know of itself: where the workflow is, how to get the rest."""

import re
import subprocess
import sys
import tomllib

import pytest
from small_runs import ROOT

from cseg import cli, errors, pipeline

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LISTED = [
    "torch>=2.11",
    "pandas>=3; extra == 'paper'",
    "snakemake<10,>=9.8; extra == 'workflow'",
    "cseg[paper]; extra == 'workflow'",
]


def test_a_checkout_has_the_workflow_at_its_top():
    assert pipeline.HOME == ROOT and pipeline.SNAKEFILE.exists()
    assert all(path.exists() for path in (pipeline.DEFAULT_CONFIG, pipeline.PUBLISHED))


def test_an_extra_is_installed_by_naming_its_packages(monkeypatch):
    """`pip install cseg[extra]` finds nothing for a checkout: cseg is on no index."""
    monkeypatch.setattr(errors, "requires", lambda name: LISTED)
    assert errors.install_command("workflow") == "pip install 'snakemake<10,>=9.8' 'pandas>=3'"
    assert errors.install_command("paper") == "pip install 'pandas>=3'"


def test_a_checkout_that_is_not_installed_says_how(monkeypatch):
    def absent(name):
        raise errors.PackageNotFoundError(name)

    monkeypatch.setattr(errors, "requires", absent)
    assert "pip install -e '.[onnx]' in the checkout" in errors.install_command("onnx")


def test_messages_name_only_extras_that_there_are():
    sources = "".join(path.read_text() for path in (ROOT / "cseg").rglob("*.py"))
    named = set(re.findall(r"install_command\([\"'](\w+)", sources))
    assert {"workflow", "onnx", "tensorboard", "cityscapes"} <= named <= set(EXTRAS)
    assert not re.search(r"pip install '?cseg\[", sources)


def test_a_config_of_the_workflow_can_be_named_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline.shipped_config("smoke.yaml") == str(ROOT / "workflow/configs/smoke.yaml")
    assert [pipeline.shipped_config(word) for word in ("-n", "x.yaml")] == ["-n", "x.yaml"]
    (tmp_path / "smoke.yaml").touch()
    assert pipeline.shipped_config("smoke.yaml") == "smoke.yaml"


def test_run_is_snakemake_with_the_workflow_and_all_words_as_they_are():
    words = ["-n", "--configfile", "smoke.yaml", "--quiet", "rules"]
    done = subprocess.run(
        [sys.executable, "-m", "cseg", "run", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "finetune" in done.stdout + done.stderr


def test_run_ends_as_snakemake_does(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cseg", "run", "--no-such-option"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 2 and b"--no-such-option" in done.stderr


@pytest.mark.parametrize("absent", ["snakemake", "pandas"])
def test_a_command_without_its_packages_names_them(absent, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(errors, "requires", lambda name: LISTED)
    monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    for module in [name for name in sys.modules if name.startswith("cseg.paper")]:
        monkeypatch.delitem(sys.modules, module)
    command = ["run"] if absent == "snakemake" else ["paper", str(tmp_path)]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert absent in said.lower() and "pip install" in said and said.count("\n") == 1


def test_make_venv_takes_every_extra():
    taken = re.search(r"--editable '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text())[1]
    assert {*taken.split(","), "paper"} == set(EXTRAS)  # paper is a part of workflow
