"""Hooks of the documentation site: pages that live outside docs/, and links that leave it."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# page of the site -> the file it shows
SHOWN = {
    "index.md": "README.md",
    "results.md": "results/README.md",
    "cluster.md": "profiles/README.md",
    "contributing.md": "CONTRIBUTING.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages in docs/ and those of `SHOWN`."""
    for page, source in SHOWN.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page's text with links that work on the site.

    A link to a file that the site does not hold becomes its path, in code letters.
    """
    name = page.file.src_uri
    source = SHOWN.get(name, f"docs/{name}")

    def link(match: re.Match[str]) -> str:
        mark, words, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        shown = {there: page for page, there in SHOWN.items()}.get(path)
        if shown is None and path.startswith("docs/") and path.endswith((".md", ".png", ".svg")):
            shown = path.removeprefix("docs/")
        if shown is None:
            return f"{words} (`{path}`)" if words.strip("`") != path else f"`{path}`"
        here = posixpath.dirname(name) or "."
        return f"{mark}[{words}]({posixpath.relpath(shown, here)}{anchor or ''})"

    return LINK.sub(link, markdown)
