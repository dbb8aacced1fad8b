"""Data, configs and checkpoints are never run as code, and nothing but `fetch` asks the network."""

import os

import pytest
import torch
from small_runs import ROOT, SMOKE
from source_scan import dangers, network_imports
from workflow_runs import dry_snakemake, overlay

from cseg import experiment
from cseg.datasets import folder
from cseg.errors import ConfigError, TrainingError
from cseg.model.weights import start_encoder
from cseg.settings.network import GivenWeights
from cseg.storage.files import sha256_file

SOURCES = sorted([*ROOT.glob("cseg/**/*.py"), *ROOT.glob("workflow/scripts/*.py")])
TAGS = [
    "!!python/object/apply:os.mkdir [{path}]",
    "!!python/object/new:os.mkdir [{path}]",
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_source_runs_nothing_from_data(path):
    assert not list(dangers(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "eval('1')", "os.system('ls')",
        "yaml.load(text)", "torch.load(path)", "torch.load(path, weights_only=False)",
        "subprocess.run('ls', shell=True)", "requests.get(url, verify=False)",
        "tar.extractall(path)", "np.load(path, allow_pickle=True)", "df = pd.read_pickle(path)",
    ],
)  # fmt: skip
def test_the_scan_finds(line):
    assert list(dangers(line))


def test_only_what_fetches_can_open_a_connection():
    """And the launcher, which finds a free port for the meeting of a training's own nodes."""
    found = {path.name for path in SOURCES if network_imports(path.read_text(encoding="utf-8"))}
    assert found == {"download.py", "cityscapes.py", "launch.py"}


@pytest.mark.fault
@pytest.mark.parametrize("tag", TAGS)
def test_python_tags_in_a_config_are_refused_by_name(tmp_path, tag, tried):
    path = tmp_path / "evil.yaml"
    path.write_text("seeds: " + tag.format(path=tmp_path / "executed") + "\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml cannot be read: .*python/"):
        experiment.load([path])
    assert not (tmp_path / "executed").exists()
    tried("Hostile files", "Python tags in a config", 1, "refused by name, nothing executed")


@pytest.mark.fault
@pytest.mark.parametrize("tag", TAGS)
def test_python_tags_in_a_description_of_a_folder_are_refused_by_name(tmp_path, tag, tried):
    path = tmp_path / "evil.yaml"
    path.write_text("classes: " + tag.format(path=tmp_path / "executed") + "\n")
    with pytest.raises(ConfigError, match=r"cannot read .*evil\.yaml .*python/"):
        folder.info(folder.Options(description=str(path)))
    assert not (tmp_path / "executed").exists()
    tried("Hostile files", "Python tags in a folder's description", 1,
          "refused by name, nothing executed")  # fmt: skip


@pytest.mark.fault
def test_snakemake_refuses_python_tags_in_a_config(tmp_path, tried):
    text = "seeds: " + TAGS[0].format(path=tmp_path / "executed") + "\n"
    done = dry_snakemake(tmp_path, "--configfile", str(SMOKE), overlay(tmp_path, text))
    assert done.returncode != 0 and "Config file is not valid" in done.stdout
    assert not (tmp_path / "executed").exists()
    tried("Hostile files", "Python tags in a config given to snakemake", 1,
          "refused by Snakemake, which names no file; nothing executed")  # fmt: skip


@pytest.mark.fault
def test_weights_from_elsewhere_are_not_unpickled(tmp_path, tried):
    class Danger:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "evil.pth"
    for content in ({"conv1.weight": Danger()}, {"conv1.weight": 1}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(TrainingError, match=r"evil\.pth hold no state dict"):
            init = GivenWeights(weights=str(path), sha256=sha256_file(path))
            start_encoder("resnet18", 16, None, init)
    assert not (tmp_path / "executed").exists()
    tried(
        "Hostile files",
        "code or foreign content in an arm's weights",
        3,
        "refused by name, nothing executed",
    )
