"""The benchmarks run: their numbers are kept in benchmarks/results, not asserted here."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from small_runs import ROOT, small_settings

from cseg.losses import PixelContrastLoss


@pytest.mark.slow
def test_a_step_is_measured_in_parts_beside_the_plain_way(tmp_path):
    out = tmp_path / "step.csv"
    command = [sys.executable, "benchmarks/step.py", "smoke", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out)
    assert list(table["stage"]) == ["pretrain", "finetune"]
    parts = table[[f"{name}_ms" for name in ("load", "forward", "loss", "backward", "optimizer")]]
    assert (parts > 0).all(axis=None)
    assert (table[["step_ms", "plain_ms", "times_plain", "network_gflop"]] > 0).all(axis=None)
    # two views in pretraining, and a projection head instead of a classifier
    assert 1.8 < table["network_gflop"].iloc[0] / table["network_gflop"].iloc[1] < 2.6
    page = out.with_suffix(".md").read_text()
    assert all(len(line.split("|")) == 16 for line in page.splitlines() if line.startswith("|"))


@pytest.mark.slow  # torch's compiler takes seconds to import
def test_the_rival_of_flex_attention_computes_the_papers_form(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import rivals
    from torch.nn.attention import flex_attention as flex

    # torch refuses gradients of it on a CPU, where only its unfused form runs; that form has them.
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    gen = torch.Generator().manual_seed(1)
    feats, other = (
        torch.nn.functional.normalize(
            torch.randn(2, 50, 24, generator=gen, dtype=torch.float64), dim=2
        ).requires_grad_()
        for _ in range(2)
    )
    labels = torch.randint(0, 4, (2, 50), generator=gen)
    labels[0, ::3] = 255
    found = rivals.flex_paper(feats, labels, other, 5, flex.flex_attention)
    true = PixelContrastLoss(None, normalize=False, backend="dense")(feats, labels, other)
    torch.testing.assert_close(found, true, rtol=1e-12, atol=0)
    for a, b in zip(*(torch.autograd.grad(loss, (feats, other)) for loss in (found, true))):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_loss_of_a_batch_is_measured_next_to_its_rivals_and_its_targets(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_page
    import loss_gpu

    sizes, device = (2, 200, 8), torch.device("cpu")
    table = pd.DataFrame(loss_gpu.measured_rows(*sizes, torch.float32, device, 2, 1e12))
    failed = table[table["failed"] != ""]
    assert list(failed["row"]) == ["flex-attention, paper's form, within"]  # no gradients on a CPU
    assert len(table) == 12 and (table["median_ms"] > 0).sum() == 11
    assert table["gradient_error"].max() < 1e-5
    assert list(table[table["gradient_error"].isna()]["row"]) == [*failed["row"], gpu_page.SAMPLED]
    assert table["share"].notna().sum() == table["row"].str.startswith("ours").sum() == 5
    compared = list(gpu_page.targets({"loss_fp32": {"rows": table.to_dict("records")}}))
    assert [(sign, target) for _, _, sign, target in compared] == [
        ("<=", 5), (">=", 8), (">=", 100), (">=", 1), ("<=", 40), ("<=", 2048),
    ]  # fmt: skip
    times = table.set_index("row")["median_ms"]
    assert compared[3][1] == times[gpu_page.SAMPLED] / times[gpu_page.OURS]


def test_the_plain_network_of_torchvision_offers_what_a_pretraining_step_calls(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from plain_loop import plain_network

    settings = small_settings("cross")
    ours, plain = (plain_network(settings.model, 3, other) for other in (False, True))
    for network in (ours.eval(), plain.eval()):
        feats = network.project(network.features(torch.zeros(2, 3, 64, 48)), (8, 6))
        assert feats.shape == (2, settings.model.projection_channels, 8, 6)
        assert network(torch.zeros(2, 3, 64, 48)).shape[:2] == (2, 3)
