"""`make gpu`: runs on a bare machine, in parts, and goes on where it was stopped."""

import os
import subprocess
import sys
import time

import pytest
from small_runs import ROOT

from cseg.storage.files import read_json

# one of each kind of code: further parts are the same with another type or stage
PARTS = ("ceilings", "correctness", "loss_fp32", "step_pretrain_bf16", "step_finetune_fp32",
         "strict", "precisions", "shared_card",
         "step_pretrain_bf16_compiled")  # fmt: skip
BARE = """
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from packaging.requirements import Requirement

sys.path.insert(0, "benchmarks")
import gpu_page

allowed, more = set(), {*gpu_page.NEEDS, "cseg"}
while more:
    allowed |= more
    told = set()
    for name in more - {"cseg"}:
        try:
            told |= {Requirement(line) for line in requires(name) or ()}
        except PackageNotFoundError:
            pass
    required = {r.name.lower() for r in told if not r.marker or r.marker.evaluate({"extra": ""})}
    more = required - allowed
owners = packages_distributions()
for module, found in owners.items():
    if module not in sys.stdlib_module_names and not {owner.lower() for owner in found} & allowed:
        sys.modules[module] = None  # an import of it fails, and a search finds nothing
for name in ("snakemake", "pydantic", "jsonschema", "scipy"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was imported")
import torch
import gpu
import gpu_parts
from cseg.stages import evaluate, fetch, finetune, index, pretrain, subset
"""


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def driver(out, minutes, *more):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny",
               "--minutes", str(minutes), "--out", str(out), *more]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_it_needs_no_package_that_it_does_not_list():
    train = 'gpu_parts.strict(torch.device("cpu"), True)'  # and what is imported late
    done = subprocess.run(
        [sys.executable, "-c", BARE + train],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_packages_are_listed_with_their_sizes_and_in_the_page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_page

    rows = [line.split(" | ") for line in gpu_page.needs().splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| {name}" for name in gpu_page.NEEDS]
    assert float(rows[0][-1].rstrip(" |")) > 50  # torch takes hundreds of MB
    speed = (ROOT / "docs" / "speed.md").read_text()
    assert all(f"| {name} | {why} |" in speed for name, why in gpu_page.NEEDS.items())


def test_a_part_without_a_file_is_not_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_page

    facts = {"device": "a card", "torch": "2.11", "revision": "abc", "gpu": True, "tiny": False}
    strict = {"seconds": 1.0, "rows": [{"same_bits": True, "times_the_usual": 2.5}]}
    page = gpu_page.page({"strict": strict}, ["loss_bf16", "strict"], ["loss_bf16: late"], facts)
    assert "| loss_bf16 | not measured on a GPU |  |  |" in page
    assert "## loss_bf16\n\nNot measured on a GPU.\n" in page
    assert "| strict mode repeats every bit | 1 | 1 | pass |" in page
    assert "| True | 2.5 |" in page and "- loss_bf16: late" in page


@pytest.mark.slow
def test_parts_run_small_and_a_killed_run_goes_on(tmp_path):
    first = driver(tmp_path, 30, "--only", *PARTS)
    while not (tmp_path / "correctness.json").exists():
        assert first.poll() is None
        time.sleep(0.2)
    first.kill()
    first.communicate()
    before = (tmp_path / "ceilings.json").stat().st_mtime_ns
    told, _ = driver(tmp_path, 30, "--only", *PARTS).communicate()
    assert "ceilings: there already" in told and "failed, see" not in told
    assert (tmp_path / "ceilings.json").stat().st_mtime_ns == before
    report = (tmp_path / "report.md").read_text()
    assert "Not measured on a GPU" in report and "| pass |" in report
    for row in read_json(tmp_path / "correctness.json")["rows"]:
        assert row["gradient_error"] < (5e-3 if row["dtype"] == "bf16" else 1e-5), row
    assert "## step_pretrain_fp32\n\nNot measured on a GPU.\n" in report
    assert read_json(tmp_path / "strict.json")["rows"][0]["same_bits"] is True


@pytest.mark.slow
def test_what_does_not_fit_into_the_time_is_said(tmp_path):
    told, _ = driver(tmp_path, 0.01).communicate()
    assert "shared_card: not begun" in told
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.slow
def test_the_sweep_of_blocks_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("triton")
    out = tmp_path / "blocks.csv"
    command = [sys.executable, "benchmarks/gpu_blocks.py", "--device", "cpu", "--tiny",
               "--processes", "1", "--out", str(out)]  # fmt: skip
    given = {"cwd": ROOT, "env": environment() | {"TRITON_INTERPRET": "1"}, "text": True}
    first, second = (subprocess.run(command, **given, capture_output=True) for _ in range(2))
    assert first.returncode == 0, first.stderr
    rows = out.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["form", "all", "negatives"]
    assert all(float(row.split(",")[-1]) > 0 for row in rows[1:])
    assert second.stdout.splitlines() == first.stdout.splitlines()[-2:]


@pytest.mark.slow
def test_the_revision_of_a_copy_is_the_one_given(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny", "--minutes", "0",
               "--revision", "abc1234", "--out", str(tmp_path)]  # fmt: skip
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    assert "revision abc1234." in (tmp_path / "report.md").read_text()


@pytest.mark.long
def test_the_plans_forecast_stands_next_to_what_was_taken(tmp_path):
    told, _ = driver(tmp_path, 30, "--only", "forecast").communicate()
    assert "forecast: measured" in told
    rows = read_json(tmp_path / "forecast.json")["rows"]
    assert [row["what"].split(",")[0] for row in rows] == [
        "a run in three jobs", "largest peak as measured by the plan"
    ]  # fmt: skip
    for row in rows:
        assert row["taken"] > 0
        assert row["taken_over_forecast"] == pytest.approx(row["taken"] / row["forecast"])
