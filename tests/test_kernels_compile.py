"""The loss's kernels compile for GPUs that are not here, fit them, do not spill, use tensor cores.

They are compiled for the launches of a training step of 16 images of 65x65 pixels; nothing runs.
`tests/compiled_kernels.py` says how to take another version of Triton.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from kernel_limits import DTYPES, MULTIPLY, SHARED_KIB, WIDTHS, sizes, source, wrong
from small_runs import ROOT

triton_blocks = pytest.importorskip("cseg.losses.triton_blocks")

SPECIFICATION = importlib.util.find_spec("triton")
TOOL = SPECIFICATION and Path(SPECIFICATION.origin).parent / "backends/nvidia/bin/cuobjdump"
pytestmark = pytest.mark.skipif(
    not TOOL or not TOOL.exists(), reason="no triton here that brings cuobjdump"
)


def compiled(cards, dtypes, channels, scopes="within,cross", denominators="all,negatives"):
    """The rows of `tests/compiled_kernels.py`, from a process that does not interpret kernels."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "tests/compiled_kernels.py", cards, dtypes, channels, scopes,
         denominators],
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(rows):
    assert not [(row, wrong(row)) for row in rows if wrong(row)]


@pytest.mark.slow
def test_the_papers_form_on_an_h100():
    rows = compiled("90", "bfloat16", "64", "within", "all")
    check(rows)
    kinds = [(row["kernel"], row["constants"]) for row in rows]
    assert kinds == [("class_sums", ""), ("walk", "SUM"), ("walk", "")]


@pytest.mark.slow
def test_float32_takes_tensor_cores_on_a_small_card():
    rows = compiled("86", "float32", "32", "within", "negatives")
    check(rows)
    assert {"operands", "value", "gradient"} <= {row["kernel"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(("card", "dtype"), [(90, "bfloat16"), (80, "float32")])
def test_what_a_training_step_launches(card, dtype):
    rows = compiled(str(card), dtype, "256")
    check(rows)
    assert {row["kernel"] for row in rows} >= MULTIPLY


# `tests/kernel_grid.py` compiled all widths, cards and types, which takes half an hour of a core.
GRID = sorted((ROOT / "benchmarks" / "results").glob("kernels_*.csv"))


@pytest.mark.parametrize("path", GRID, ids=lambda path: path.stem)
def test_the_grid_of_all_kernels_is_of_this_code_and_keeps_to_the_limits(path, monkeypatch):
    table = pd.read_csv(path, keep_default_na=False)
    check(table.to_dict("records"))
    assert set(table["source"]) == {source()}, "run python tests/kernel_grid.py"
    walks = table[table["kernel"] == "walk"].groupby(["card", "dtype", "channels"])["blocks"]
    assert set(walks.groups) == set(itertools.product(SHARED_KIB, DTYPES, WIDTHS))
    for card, dtype, width in walks.groups:
        monkeypatch.setattr(triton_blocks, "card_of", lambda _, card=card: card)
        feats = torch.empty(1, 1, width, dtype=getattr(torch, dtype))
        options, _ = triton_blocks.launch_options(feats, 0.07)
        own = table[
            (table["card"] == card) & (table["dtype"] == dtype) & (table["channels"] == width)
        ]
        for kernel, tile in (("walk", options["TILE"]), ("gradient", options["MUTUAL"])):
            found = set(own[own["kernel"] == kernel]["blocks"])
            assert found == {sizes({**options, "TILE": tile})}


def test_the_grid_has_the_oldest_triton_and_a_new_one():
    versions = {path.stem.split("_")[1].rsplit(".", 1)[0] for path in GRID}
    assert versions >= {"3.6", "3.8"}
