"""What the pages say of the project holds: versions, names, links."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from small_runs import ROOT

import cseg

PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    if ".venv" not in path.parts
)  # fmt: skip


def test_one_version_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == cseg.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == cseg.__version__


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(
        r'(?:src|href)="([^"#]+)"', text
    )
    broken = [
        link for link in links
        if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists()
    ]  # fmt: skip
    assert not broken


def test_the_architecture_page_names_every_rule():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rules = [path.stem for path in (ROOT / "workflow" / "scripts").glob("*.py")]
    assert len(rules) > 8 and not [rule for rule in rules if rule not in page]


def test_hooks_are_local_and_their_tools_are_the_projects():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    tools = {re.split(r"[<>=~\[ ]", need)[0] for need in extras["dev"]}
    for repo in hooks:
        assert repo["repo"] == "local"
        for hook in repo["hooks"]:
            assert Path(hook["entry"].split()[0]).name in tools
