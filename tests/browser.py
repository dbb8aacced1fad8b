"""Open pages in headless Chromium, without a network."""

import shutil
import subprocess
from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NO_BROWSER = "no Chromium is installed"


def open_page(page: Path, profile: Path, *arguments: str) -> str:
    """Run Chromium on a local page; returns what it prints."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=1500,1000", f"--user-data-dir={profile}", *arguments, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=600).stdout


def with_script(page: Path, script: str) -> Path:
    """A copy of `page` beside it that runs `script` too."""
    head, end, tail = page.read_text(encoding="utf-8").rpartition("</body>")
    copy = page.with_name(f"probed_{page.name}")
    copy.write_text(f"{head}<script>{script}</script>{end}{tail}", encoding="utf-8")
    return copy
