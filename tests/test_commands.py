"""Every command that a page shows is run, or read by what would run it, or named as not run."""

import argparse
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made_trees import paint_image
from PIL import Image
from shipped_pages import PAGES, code_blocks, code_spans, pages
from small_runs import ROOT
from snakemake.cli import get_argument_parser

from cseg import cli, experiment
from cseg.errors import CsegError
from cseg.estimate import flops

NOT_RUN = {  # first words of a command -> why no test here runs or reads it
    "git clone": "the address is that of the reader's copy",
    "pip install": "installs; tests/test_wheel.py installs into a separate environment",
    "pre-commit install": "a tool of the reader's own; tests/test_docs.py reads its hooks",
    "export": "a setting of the shell",
    "cd": "a folder of the reader's",
}
OURS = {"mine.yaml"}  # configs that a command before it has written
PROGRAMS = ("cseg", "snakemake", "make", "python", "pip", "git", "pre-commit")
SNAKEFILES = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
RULES = {rule for path in SNAKEFILES
         for rule in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)}  # fmt: skip


def shown(page: Path) -> Iterator[list[str]]:
    """The words of each command in the shell blocks, without comments."""
    lines = "\n".join(code_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    for part in (part for line in lines for part in re.split(r"&&|\|", line)):
        if words := shlex.split(part, comments=True):
            yield words[2:] if words[:3] == ["python", "-m", "cseg"] else words


def check(words: list[str]) -> None:
    """Fail if the command is wrong, or of no kind that is known here."""
    program, *rest = words
    if program == "cseg" and rest[0] == "run":
        check(["snakemake", *rest[1:]])
    elif program == "cseg":
        configs(cli._parser().parse_args(rest))  # ends with SystemExit if it is wrong
    elif program == "snakemake":
        read = get_argument_parser().parse_args(rest)
        targets = [*read.targets, *(read.forcerun or [])]
        assert [t for t in targets if t not in RULES and not t.startswith("results/")] == [], words
        configs(read)
    elif program == "make":
        done = subprocess.run(["make", "-n", *rest], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif program == "python":
        assert (ROOT / rest[0]).is_file(), words
    else:
        assert any(" ".join(words).startswith(known) for known in NOT_RUN), words


def configs(read: argparse.Namespace) -> None:
    """Load the shipped configs that a command names, together, as it would."""
    named = getattr(read, "configfile", None) or []
    if not OURS & set(map(str, named)):
        experiment.load([ROOT / path for path in named])


@pages
def test_commands_are_right(page: Path):
    for words in shown(page):
        check(words)


@pages
def test_commands_within_a_sentence_have_known_options(page: Path, capsys: pytest.CaptureFixture):
    """They may be cut short (`cseg init`): what follows the command need not be complete."""
    for span in code_spans(page):
        words = span.split()
        if words[0] not in PROGRAMS or len(words) == 1:
            continue
        if words[0] == "cseg" and words[1] not in ("run", "--help"):
            with pytest.raises(SystemExit) as ended:
                cli._parser().parse_args([words[1], "--help"])
            assert ended.value.code == 0, span
            options = [word for word in words if word.startswith("--")]
            told = capsys.readouterr().out
            assert [option for option in options if option not in told] == [], span
        elif words[:2] != ["cseg", "run"]:
            check(shlex.split(span)[2:] if words[:3] == ["python", "-m", "cseg"] else
                  shlex.split(span))  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("cseg predict photos --checkpiont x.pt --out o", SystemExit),
        ("cseg plan --configfile absent.yaml", CsegError),
        ("snakemake paper_tabels --cores all", AssertionError),
        ("snakemake --corse all", SystemExit),
        ("cseg run --corse all", SystemExit),
        ("make dmeo", AssertionError),
        ("python benchmarks/absent.py", AssertionError),
        ("curl example.org", AssertionError),
    ],
)
def test_a_wrong_command_would_be_found(words: str, error: type[BaseException]):
    with pytest.raises(error):
        check(words.split())


def test_reasons_for_not_running_are_of_commands_that_a_page_shows():
    seen = [" ".join(words) for page in PAGES for words in shown(page)]
    seen += [span for page in PAGES for span in code_spans(page)]
    assert [known for known in NOT_RUN if not any(s.startswith(known) for s in seen)] == []


COSTS = [
    pytest.param("voc2012", marks=pytest.mark.slow),
    pytest.param("cityscapes", marks=pytest.mark.long),
]


@pytest.mark.parametrize("config", COSTS)
def test_the_plans_on_the_page_of_costs_are_what_the_command_prints(
    config: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    page = ROOT / "docs" / "cost.md"
    (words,) = [words for words in shown(page) if f"workflow/configs/{config}.yaml" in words]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(flops, "job_seconds", lambda: 8.0)  # else this machine's, which changes
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out.strip() in page.read_text(encoding="utf-8")


def test_the_loss_as_the_page_shows_it_runs():
    (code,) = code_blocks(ROOT / "docs" / "loss.md", "python")
    torch.manual_seed(0)
    images, distorted_images = torch.rand(2, 2, 3, 16, 16)
    names = {
        "network": torch.nn.Conv2d(3, 8, 1), "images": images, "distorted_images": distorted_images,
        "labels": torch.randint(0, 3, (2, 16, 16)),
    }  # fmt: skip
    exec(code, names)
    assert 0 < names["loss"].item() < 20


def test_the_network_as_the_page_uses_it_predicts(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (code,) = code_blocks(ROOT / "docs" / "own_images.md", "python")
    best = tmp_path / "results" / "mine" / "best"
    best.mkdir(parents=True)
    shutil.copy(checkpoint, best / "nall.pt")
    paint_image(tmp_path / "photo.jpg", seed=1, size=(40, 30))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert (names["classes"].shape, str(names["classes"].dtype)) == ((30, 40), "uint8")


def test_the_picture_of_a_photograph_is_made_from_networks(checkpoint: Path, tmp_path: Path):
    paint_image(tmp_path / "photo.jpg", seed=1, size=(40, 30))
    script = runpy.run_path(str(ROOT / "docs" / "photograph.py"))
    script["show"](tmp_path / "photo.jpg", tmp_path / "out.png", [checkpoint, checkpoint])
    assert Image.open(tmp_path / "out.png").size == (780, 240)
