"""The command line, as a user calls it."""

import subprocess
import sys

import pytest
from small_runs import ROOT, SMOKE

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


PREDICT = ("predict", "a.png", "--checkpoint", "c", "--out", "o")


@pytest.mark.parametrize(
    "arguments",
    [
        (*PREDICT, "--window", "0", "0"), (*PREDICT, "--threads", "0"),
        (*PREDICT, "--threads", "-1"), (*PREDICT, "--window", "16", "1.5"),
        ("plan", "--size", "0", "0"), ("plan", "--devices", "0"),
        (*PREDICT, "--threads", "1_0"), (*PREDICT, "--threads", "+2"), ("plan", "--devices", " 2"),
        ("plan", "--teraflops", "nan"), ("plan", "--teraflops", "0"),
        ("plan", "--teraflops", "inf"), ("plan", "--teraflops", "fast"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(("is not a whole number of at least 1\n", "is not a number above 0\n"))


def test_plan_saves_over_its_own_costs_only(tmp_path, capsys):
    mine = tmp_path / "mine.json"
    mine.write_text('{"a": 1}')
    assert main(["plan", "--configfile", str(SMOKE), "--save", str(mine)]) == 1
    assert "holds something else than costs; give another file" in capsys.readouterr().err
    assert mine.read_text() == '{"a": 1}'


def test_failures_are_one_sentence(tmp_path, capsys):
    assert main(["info", str(tmp_path / "absent.pt")]) == 1
    assert main(["paper", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and all(line.startswith("error: ") for line in said)


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "cseg", "--version"], cwd=ROOT, check=True)
    assert done.returncode == 0
