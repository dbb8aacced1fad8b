"""Snakemake's report of a real run, clicked through in a browser; results of a broken run."""

import base64
import json
import re

import numpy as np
import pytest
from browser import BROWSER, NO_BROWSER, open_page, with_script
from PIL import Image
from small_runs import SMOKE
from workflow_runs import overlay, snakemake

from cseg.cli import main

pytestmark = pytest.mark.slow

# Opens every entry of every category and notes what is shown.
PROBE = """
const sleep = ms => new Promise(done => setTimeout(done, ms));
const link = text => [...document.querySelectorAll("a")].find(a => a.textContent.trim() === text);
const frame = f => new DOMParser().parseFromString(
  f.srcdoc || decodeURIComponent(escape(atob(f.src.split(",")[1]))), "text/html");
const tables = page => [...page.querySelectorAll("table")].map(t => t.rows.length);
addEventListener("load", async () => {
  await sleep(1000);
  const found = {"1 Summary": {}, "2 Tables": {}, "3 Figures": {}};
  const first = document.querySelector("iframe");
  found.first = {
    text: document.querySelector(".prose").innerText,
    tables: [...first.contentDocument.querySelectorAll("table")].map(t => t.offsetHeight),
    images: [...first.contentDocument.images].map(i => i.naturalWidth),
    rules: document.querySelector("#rulegraph canvas").height,
  };
  for (const category of ["1 Summary", "2 Tables", "3 Figures"]) {
    link(category).click(); await sleep(300);
    for (const row of document.querySelectorAll("tbody tr")) {
      const eye = row.querySelector('a[iconname="eye"]');
      if (!eye) continue;
      eye.click(); await sleep(400);
      const main = document.querySelector("#app > div").lastElementChild;
      found[category][row.cells[0].innerText] = {
        images: [...main.querySelectorAll("img")].map(i => [i.naturalWidth, i.offsetWidth]),
        tables: [...main.querySelectorAll("iframe")].flatMap(f => tables(frame(f))),
      };
    }
    link("Results").click(); await sleep(300);
  }
  document.body.innerHTML = "";
  const out = document.body.appendChild(document.createElement("pre"));
  out.id = "probe"; out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
});
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for more in ([], ["--report", str(folder / "report.html")]):
        done = snakemake(folder, "smoke", "--configfile", str(SMOKE), *more)
        assert done.returncode == 0, done.stderr
    return folder / "report.html"


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_shows_its_pictures_and_tables_offline(report, tmp_path):
    page = with_script(report, PROBE)
    shown = open_page(page, tmp_path / "profile", "--virtual-time-budget=60000", "--dump-dom")
    text = re.search(r'<pre id="probe">([^<]+)</pre>', shown).group(1)
    found = json.loads(base64.b64decode(text))
    first = found["first"]
    assert "few labelled images" in first["text"] and "System Message" not in first["text"]
    assert len(first["tables"]) == 2 and min(first["tables"]) > 40  # all arms, provenance
    assert len(first["images"]) == 2 and min(first["images"]) > 500 and first["rules"] > 300
    assert len(found["1 Summary"]["summary"]["tables"]) == 2
    assert set(found["2 Tables"]) == {
        "recommendation", "main", "label saving", "per class", "cost", "separability", "published",
    }  # fmt: skip
    for name, entry in found["2 Tables"].items():
        assert entry["tables"] and min(entry["tables"]) >= 2, name
    assert len(found["3 Figures"]) == 8
    for name, entry in found["3 Figures"].items():
        ((natural, drawn),) = entry["images"]
        assert natural > 500 and drawn > 300, name


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_opens_on_the_summary(report, tmp_path):
    picture = tmp_path / "first.png"
    open_page(
        report, tmp_path / "profile", "--virtual-time-budget=15000", f"--screenshot={picture}"
    )
    pixels = np.array(Image.open(picture).convert("L"))
    right = pixels[200:900, 330:1150]  # beside the menu: text and the headline table
    assert 0.01 < (right < 128).mean() < 0.5


def test_what_finished_is_rendered_when_a_run_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # data_dir is relative to where people run the commands
    text = f"""
run_arms: [scratch, imagenet]
arms: {{imagenet: {{init: {{weights: {tmp_path}/absent.pt, sha256: "{"0" * 64}"}}}}}}
"""
    done = snakemake(
        tmp_path, "smoke", "--keep-going", "--configfile", str(SMOKE), overlay(tmp_path, text)
    )
    assert done.returncode != 0 and "absent.pt do not exist" in done.stderr
    results = tmp_path / "results" / "smoke"
    assert main(["paper", str(results)]) == 1
    assert "--collect" in capsys.readouterr().err
    assert main(["paper", str(results), "--collect"]) == 0
    assert "| scratch" in (results / "shapes/tables/main.md").read_text()
    assert (results / "shapes/figures/qualitative.png").stat().st_size > 0
    assert "scratch" in (results / "shapes/summary.html").read_text()
