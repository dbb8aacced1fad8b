"""The CUDA kernels agree with the oracle; without a GPU they run in triton's interpreter."""

import itertools
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import loss_and_grads, random_case, relative_error

from cseg.compute.device import has_gpu
from cseg.losses import LossInputError, PixelContrastLoss, pixel_contrast_loss, scopes

DEVICE = "cuda" if has_gpu() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are first imported
pytest.importorskip("triton")
from cseg.losses import (  # noqa: E402
    triton_blocks,
    triton_classes,
    triton_paper,
    triton_released,
)

# Masked pairs may overflow in the interpreter as they do, silently, on a GPU.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))


def errors_against_oracle(case, dtype, **options):
    views = [f.to(dtype) for f in (case[0], case[2])]
    labels = [y.to(DEVICE) for y in (case[1], case[3])]
    options["partner"] = torch.arange(len(labels[0])).roll(1)
    on_device = [f.to(DEVICE) for f in views]
    got = loss_and_grads(
        on_device[0], labels[0], on_device[1], labels[1], backend="triton", **options
    )
    wide = [f.double() for f in views]
    want = loss_and_grads(wide[0], case[1], wide[1], case[3], backend="dense", **options)
    return relative_error([t.cpu() for t in got], want)


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("channels,classes", [(1, 2), (20, 40)])
def test_float32(scope, denominator, channels, classes):
    # Ragged blocks of 64 and tiles of 32; two classes have many pixels, forty have one or two.
    pixels = 35 if scope == "batch" else 70
    case = random_case(1, 2, pixels, channels, classes, other_pixels=35)
    assert errors_against_oracle(case, torch.float32, scope=scope, denominator=denominator) < 1e-6


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_many_channels_are_multiplied_in_steps(denominator):
    case = random_case(1, 2, 20, 70, 3)
    assert errors_against_oracle(case, torch.float32, scope="cross", denominator=denominator) < 1e-6


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_float32_stays_accurate_when_training_has_gathered_the_classes(denominator):
    """Gradients are then small differences of large sums: bfloat16 parts would be 1e-4 off."""
    gen = torch.Generator().manual_seed(6)
    labels = torch.randint(0, 4, (2, 2, 40), generator=gen)
    feats = torch.randn(4, 64, generator=gen)[labels]
    feats = feats + 0.3 * torch.randn(feats.shape, generator=gen)
    views = torch.nn.functional.normalize(feats, dim=3).double()
    case = (views[0], labels[0], views[1], labels[1])
    assert errors_against_oracle(case, torch.float32, denominator=denominator) < 1e-5


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(scope, denominator, dtype):
    case = random_case(2, 2, 30, 32, 3)
    limit = 0.005 if dtype == torch.bfloat16 else 0.001
    assert errors_against_oracle(case, dtype, scope=scope, denominator=denominator) < limit


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("length,temperature", [(1.0, 1 / 35), (50.0, 100.0), (0.001, 1e-6)])
def test_features_of_any_length(denominator, length, temperature):
    case = random_case(7, 2, 20, 5, 2, scale=length)
    options = {"scope": "cross", "denominator": denominator, "temperature": temperature}
    assert errors_against_oracle(case, torch.float32, **options) < 1e-5


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_one_pixel_and_labels_of_any_value(denominator):
    one = [t[:, :1] for t in random_case(8, 2, 3, 3, 1)]
    one[1][:], one[3][:] = 1, 1
    got = loss_and_grads(
        *(t.to(DEVICE) if t.dtype == torch.int64 else t.float().to(DEVICE) for t in one),
        backend="triton", denominator=denominator,
    )  # fmt: skip
    assert all(t.abs().max() < 1e-6 for t in got)  # its only candidate is its positive
    feats, labels, other, other_labels = random_case(9, 2, 20, 3, 3)
    values = torch.tensor([-(2**40), 2**40, -1])
    labels[labels == 255], other_labels[other_labels == 255] = 0, 1
    case = (feats, values[labels], other, values[other_labels])
    options = {"denominator": denominator, "ignore_index": -1, "scope": "cross"}
    assert errors_against_oracle(case, torch.float32, **options) < 1e-6


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_an_ignored_pixel_like_no_other_overflows_nothing(denominator):
    """Its similarity to itself is in nobody's sum, so it is far above all that are."""
    angles = torch.linspace(-0.5, 0.5, 20, dtype=torch.float64)[None]
    angles[0, 0], angles[0, 10:] = math.pi, math.pi
    feats = torch.stack([angles.cos(), angles.sin()], 2)
    labels = torch.tensor([[255, 0, 0, 0, 0, 1, 1, 0, 0, 0] + 10 * [255]])
    case = (feats, labels, feats.clone(), labels)
    options = {"denominator": denominator, "temperature": 1 / 35}
    assert errors_against_oracle(case, torch.float32, **options) < 1e-4


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_runs_and_class_sums_are_those_of_a_sort(data):
    sizes = st.integers(1, 70)
    labels, others = (
        torch.tensor([data.draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))])
        for n in (data.draw(sizes), data.draw(sizes))
    )
    by_label, order = triton_classes.sorted_labels(others.to(DEVICE))
    runs = triton_classes.runs_among(others.to(DEVICE), by_label, 2)
    among = triton_classes.runs_among(labels.to(DEVICE), by_label, 2)
    assert order[0].tolist() == others[0].sort(stable=True).indices.tolist()
    smaller = [(others < label).sum().item() for label in labels[0]]
    same = [(others == label).sum().item() if label != 2 else 0 for label in labels[0]]
    assert (among.head_GN[0].tolist(), among.count_GN[0].tolist()) == (smaller, same)
    feats = torch.randn(1, others.shape[1], 3)
    weight = torch.rand(1, others.shape[1])
    table = triton_classes.class_sums(feats.to(DEVICE), weight.to(DEVICE), order, runs)
    for label in (-2, -1, 0, 1):
        members = others[0] == label
        if members.sum() >= triton_classes.LARGE:
            slot = (others < label).sum() // triton_classes.LARGE
            want = (weight[0, members, None] * feats[0, members]).double().sum(0)
            torch.testing.assert_close(table[0, slot].cpu().double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("card", [80, 86, 87, 89, 90, 100, 103, 110, 120, 121])
def test_every_card_has_blocks_for_every_width(monkeypatch, card):
    monkeypatch.setattr(triton_blocks, "card_of", lambda _: card)
    for dtype, channels in itertools.product((torch.bfloat16, torch.float32), (1, 40, 256, 512)):
        feats = torch.empty(1, 1, channels, dtype=dtype)
        options, factor = triton_blocks.launch_options(feats, 0.07)
        assert options["SPLIT"] == (dtype == torch.float32)
        assert factor == (1024 if options["SPLIT"] else 1)
        assert channels <= options["BD"] <= max(16, 2 * channels - 1)
        assert options["BD"] % options["STEP"] == options["BD"] % options["OUT_D"] == 0


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 30.0])
@pytest.mark.parametrize("ignored", ["all", "an image", "one class"])
def test_degenerate_bags_are_finite(denominator, scale, ignored):
    feats, labels, other, other_labels = random_case(3, 2, 40, 8, 3, scale=scale)
    if ignored == "one class":
        labels[:], other_labels[:] = 1, 1
    else:
        chosen = slice(None) if ignored == "all" else slice(1)
        labels[chosen], other_labels[chosen] = 255, 255
    case = (feats, labels, other, other_labels)
    for temperature in (0.07, 0.01):
        options = {"denominator": denominator, "temperature": temperature, "scope": "cross"}
        assert errors_against_oracle(case, torch.float32, **options) < 1e-5


def test_no_gradient_and_same_bits():
    feats, labels, other, _ = random_case(4, 2, 60, 8)
    feats, other, labels = feats.float().to(DEVICE), other.float().to(DEVICE), labels.to(DEVICE)
    for denominator in ("all", "negatives"):
        options = {"denominator": denominator, "backend": "triton"}
        with torch.no_grad():
            loss = pixel_contrast_loss(feats, labels, other, **options)
        once, again = (loss_and_grads(feats, labels, other, **options) for _ in range(2))
        assert loss.item() == once[0].item()
        assert all(torch.equal(a, b) for a, b in zip(once, again))


def test_features_that_the_module_has_normalised_are_not_measured_again(monkeypatch):
    def measured(feats):
        raise AssertionError("reading a length waits for the device")

    feats, labels, other, _ = random_case(5, 2, 40, 8)
    feats, other, labels = 7 * feats.float().to(DEVICE), other.float().to(DEVICE), labels.to(DEVICE)
    module = PixelContrastLoss(grid=None, backend="triton")
    want = PixelContrastLoss(grid=None, backend="dense")(feats, labels, other)
    monkeypatch.setattr(scopes, "longest", measured)
    assert module(feats, labels, other).item() == pytest.approx(want.item(), rel=1e-5)
    with pytest.raises(AssertionError, match="waits for the device"):
        pixel_contrast_loss(feats, labels, other, backend="triton")


@pytest.mark.parametrize(
    "given,taken",
    [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32), (torch.float32,) * 2],
)
def test_the_module_normalises_in_float32_and_hands_bfloat16_on_as_it_is(monkeypatch, given, taken):
    seen = []
    real = triton_paper.candidate_grads

    def watched(bags, *rest):
        seen.append(bags.anchors_GND)
        return real(bags, *rest)

    monkeypatch.setattr(triton_paper, "candidate_grads", watched)
    feats, labels, *_ = random_case(10, 1, 20, 8)
    feats = (3 * feats).to(DEVICE, given).requires_grad_()
    PixelContrastLoss(grid=None, backend="triton")(feats, labels.to(DEVICE)).backward()
    want = torch.nn.functional.normalize(feats.detach().float(), dim=2).to(taken)
    want[labels == 255] = 0
    assert torch.equal(seen[0], want)
    assert feats.grad.dtype == given and feats.grad.abs().max() > 0


def test_what_the_kernels_do_not_take():
    labels = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(LossInputError, match="float64"):
        pixel_contrast_loss(torch.zeros(1, 4, 2).double(), labels, backend="triton")
    with pytest.raises(LossInputError, match="512"):
        pixel_contrast_loss(torch.zeros(1, 4, 513), labels, backend="triton")


def cut_off(wide):
    """float64 to the next float32 towards zero, as tensor cores do with a sum."""
    near = wide.astype(np.float32)
    over = abs(near.astype(np.float64)) > abs(wide)
    return np.where(over, np.nextafter(near, np.float32(0)), near)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_float32_stays_accurate_with_sums_of_tensor_cores(monkeypatch, denominator):
    """They cut off their sums; over a whole bag of pixels that becomes 1e-5 of a gradient."""

    def dot(builder, a, b, acc, *rest):
        total = acc.data
        for k in range(a.data.shape[1]):  # a card does so after 16 products: of 16 times the pixels
            total = cut_off(total + np.outer(a.data[:, k].astype(np.float64), b.data[k]))
        return interpreter.TensorHandle(total, acc.dtype.scalar)

    interpreter = pytest.importorskip("triton.runtime.interpreter")
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)
    for module in (triton_paper, triton_released):
        monkeypatch.setattr(module, "CHUNK", 32)
    case = random_case(12, 1, 40, 2, 3, other_pixels=300)
    if denominator == "negatives":
        case = case[2:] + case[:2]
    assert errors_against_oracle(case, torch.float32, denominator=denominator) < 2e-6
