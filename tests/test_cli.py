"""The command line, as a user calls it."""

import subprocess
import sys

import pytest
from small_runs import ROOT

from cseg.cli import main


def test_info_says_what_a_checkpoint_is(checkpoint, capsys):
    assert main(["info", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    for fact in (
        "run: shapes/scratch/n4/seed0",
        "labelled images: 4",
        "background, disc",
        "not ev",
    ):
        assert fact in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "a.png", "--checkpoint", "c", "--out", "o", "--window", "0", "0"],
        ["predict", "a.png", "--checkpoint", "c", "--out", "o", "--threads", "0"],
        ["predict", "a.png", "--checkpoint", "c", "--out", "o", "--threads", "-1"],
        ["predict", "a.png", "--checkpoint", "c", "--out", "o", "--window", "16", "1.5"],
    ],
)
def test_numbers_out_of_range_are_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("is not a whole number of at least 1\n")


def test_failures_are_one_sentence(tmp_path, capsys):
    assert main(["info", str(tmp_path / "absent.pt")]) == 1
    assert main(["paper", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and all(line.startswith("error: ") for line in said)


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "cseg", "--version"], cwd=ROOT, check=True)
    assert done.returncode == 0
