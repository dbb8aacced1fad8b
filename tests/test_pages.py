"""Every path, key and count that a page names is one of the project's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from config_page import facts
from shipped_pages import PAGES, code_spans, pages
from small_runs import ROOT

from cseg.datasets import dataset_module, typed_options
from cseg.experiment.definition import Experiment

TOP = ["cseg", "workflow", "docs", "tests", "benchmarks", "envs", "profiles", "examples"]
BLOCKS = ("image", "model", "pretrain", "finetune", "pseudolabel", "evaluate")


@pages
def test_paths_exist(page: Path):
    named = [span for span in code_spans(page) if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", span)]
    ours = [span for span in named if span.split("/")[0] in TOP and "..." not in span]
    assert [span for span in ours if not (ROOT / span).exists()] == []


@pages
def test_config_keys_exist(page: Path):
    known = {fact.name for fact in facts(Experiment)}
    known |= {name.rsplit(".", 1)[0] for name in known}
    pattern = rf"({'|'.join(BLOCKS)})\.([a-z_]+)(?:: .*)?"
    named = [match for span in code_spans(page) if (match := re.fullmatch(pattern, span))]
    files = ("py", "csv", "pt", "smk", "state", "log")
    keys = [f"{match[1]}.{match[2]}" for match in named if match[2] not in files]
    assert [key for key in keys if key not in known] == []


def test_the_table_of_datasets_has_their_numbers_of_classes():
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \| (\w+) \|", (ROOT / "docs" / "datasets.md").read_text(),
        re.MULTILINE,
    )  # fmt: skip
    assert len(rows) == 5
    for name, images, classes in rows:
        if name == "folder":
            continue  # its numbers are the user's
        info = dataset_module(name).info(typed_options(name, {}))
        assert classes == str(info.num_classes), name
        for split, size in info.split_sizes.items():  # those of shapes are as the config asks
            assert name == "shapes" or f"{size:,}" in images, (name, split)


def test_nothing_shipped_points_outside_of_the_repository():
    files = [path for folder in ("workflow", "profiles", "envs", "examples", "benchmarks", "cseg")
             for path in (ROOT / folder).rglob("*.*")
             if path.suffix in (".py", ".yaml", ".smk", ".md", ".rst")]  # fmt: skip
    assert len(files) > 150
    outside = [path for path in [*files, *PAGES] if "../shared" in path.read_text("utf-8")
               or '/ "shared"' in path.read_text("utf-8")]  # fmt: skip
    assert outside == []
    overlays = (ROOT / "workflow" / "configs").rglob("*.yaml")
    folders = [yaml.safe_load(path.read_text("utf-8")).get("data_dir", "data") for path in overlays]
    assert [folder for folder in folders if Path(folder).is_absolute() or ".." in folder] == []


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    paragraphs = "\n".join(lines).split("\n\n")
    prose = [p.splitlines() for p in paragraphs if p[0] not in "|`#!-"]
    assert max(map(len, prose)) <= 5


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "which start is best" in (tmp_path / "site" / "index.html").read_text()
