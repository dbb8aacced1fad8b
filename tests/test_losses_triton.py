"""The CUDA kernels agree with the oracle; without a GPU they run in triton's interpreter."""

import itertools
import os

import pytest
import torch
from loss_cases import loss_and_grads, random_case, relative_error

from cseg.losses import LossInputError, PixelContrastLoss, pixel_contrast_loss, scopes

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are first imported
pytest.importorskip("triton")

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
@pytest.mark.parametrize("channels,classes", [(1, 3), (20, 40)])
def test_float32(scope, denominator, channels, classes):
    # Blocks are 128 pixels long: 140 and 30 make several, the last one ragged.
    case = random_case(1, 2, 140, channels, classes, other_pixels=30)
    assert errors_against_oracle(case, torch.float32, scope=scope, denominator=denominator) < 1e-5


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16][: 2 if DEVICE == "cuda" else 1])
def test_half_precision(scope, denominator, dtype):
    case = random_case(2, 2, 40, 32, 4)
    assert errors_against_oracle(case, dtype, scope=scope, denominator=denominator) < 0.005


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
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


def test_what_the_kernels_do_not_take():
    labels = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(LossInputError, match="float64"):
        pixel_contrast_loss(torch.zeros(1, 4, 2).double(), labels, backend="triton")
    with pytest.raises(LossInputError, match="512"):
        pixel_contrast_loss(torch.zeros(1, 4, 513), labels, backend="triton")
