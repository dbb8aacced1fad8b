"""What callers hand in at the edges: broken features where pixels are ignored, odd options."""

import itertools
import os

import numpy as np
import pytest
import torch
from loss_cases import loss_and_grads, random_case, relative_error

from cseg.compute.device import has_gpu
from cseg.losses import LossInputError, PixelContrastLoss, pixel_contrast_loss, row_blocks, tiled

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))
BROKEN = [float("nan"), float("inf"), -float("inf"), 1e30, 100.0]


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("backend", ["dense", "batched", "tiles"])
def test_features_of_ignored_pixels_may_be_anything(
    scope, denominator, value, backend, monkeypatch
):
    monkeypatch.setattr(tiled, "SMALL_PAIRS", 0 if backend == "tiles" else 10**9)
    monkeypatch.setattr(row_blocks, "ROWS", 5)
    feats, labels, other, other_labels = random_case(6, images=2, pixels=20)
    options = {"scope": scope, "denominator": denominator, "partner": [1, 0]}
    options["backend"] = "dense" if backend == "dense" else "tiled"
    clean, broken = [
        loss_and_grads(one.float(), labels, two.float(), other_labels, **options)
        for one, two in [
            (feats, other),
            (feats.masked_fill(labels[:, :, None] == 255, value),
             other.masked_fill(other_labels[:, :, None] == 255, value)),
        ]
    ]  # fmt: skip
    assert (labels == 255).any() and (other_labels == 255).any()
    assert relative_error(broken, clean) < 1e-6
    for grad, truth in zip(broken[1:], (labels, other_labels)):
        assert not grad[truth == 255].any()


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_kernels_do_not_see_ignored_features(scope, denominator):
    pytest.importorskip("triton")
    device = "cuda" if has_gpu() else "cpu"
    if device == "cpu" and os.environ.setdefault("TRITON_INTERPRET", "1") != "1":
        pytest.skip("triton was imported for a GPU")
    feats, labels, other, other_labels = (t.to(device) for t in random_case(6, 2, 20))
    options = {"scope": scope, "denominator": denominator, "partner": [1, 0]}
    want = loss_and_grads(feats, labels, other, other_labels, backend="dense", **options)
    feats[labels == 255], other[other_labels == 255] = float("nan"), float("inf")
    got = loss_and_grads(
        feats.float(), labels, other.float(), other_labels, backend="triton", **options
    )
    assert relative_error(got, want) < 1e-5


def test_broken_features_of_real_pixels_are_not_hidden():
    feats, labels, *_ = random_case(0, images=2, pixels=20)
    labels[0, 3] = 1
    feats[0, 3] = float("nan")
    for denominator in ("all", "negatives"):
        for backend in ("dense", "tiled"):
            options = {"denominator": denominator, "backend": backend}
            assert pixel_contrast_loss(feats, labels, **options).isnan(), options
    maps = torch.randn(1, 4, 9, 9)
    maps[0, :, 4, 4] = float("nan")
    truth = torch.zeros(1, 17, 17, dtype=torch.int64)
    for grid in (None, 5):
        small = truth[:, ::2, ::2] if grid is None else truth
        assert PixelContrastLoss(grid)(maps, small).isnan(), grid


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("grid,step", [(None, 1), ((9, 9), 1), (5, 2), (7, 2)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_module_lets_no_broken_padding_through(normalize, grid, step, value):
    """Padding at the right: its gradient is 0, and everybody else's is finite."""
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(2, 4, 9, 9, generator=gen)
    labels = torch.randint(0, 3, (2, 8 * step + 1, 8 * step + 1), generator=gen)
    labels[:, :, 6 * step :] = 255
    module = PixelContrastLoss(grid, normalize=normalize, temperature=0.5)
    padded = feats.clone()
    padded[:, :, :, 6:] = value
    padded.requires_grad_()
    loss = module(padded, labels)
    loss.backward()
    assert loss.isfinite() and padded.grad.isfinite().all()
    assert padded.grad[..., :6].abs().sum() > 0
    assert not padded.grad[..., 6:].any()
    zeros = feats.clone()
    zeros[:, :, :, 6:] = 0
    assert loss.item() == pytest.approx(module(zeros, labels).item(), rel=1e-6)


def test_finite_features_of_ignored_pixels_are_resized_as_ever():
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(1, 4, 9, 9, generator=gen)
    labels = torch.randint(0, 3, (1, 9, 9), generator=gen)
    labels[:, :, 6:] = 255
    small, truth = PixelContrastLoss(7, normalize=False).on_grid(feats, labels)
    resized = torch.nn.functional.interpolate(feats, (7, 7), mode="bilinear", align_corners=True)
    torch.testing.assert_close(small, resized)
    assert (truth == 255).any()


def test_nothing_one_or_several_labels_may_be_ignored():
    feats, labels, *_ = random_case(1, pixels=30, classes=4)
    labels[labels == 255] = 0
    for denominator in ("all", "negatives"):
        options = {"denominator": denominator}
        none = pixel_contrast_loss(feats, labels, ignore_index=None, **options)
        assert none == pixel_contrast_loss(feats, labels, ignore_index=99, **options)
        assert none == pixel_contrast_loss(feats, labels, ignore_index=[], **options)
        joined = torch.where(labels == 3, 1, labels)
        want = pixel_contrast_loss(feats, joined, ignore_index=1, **options)
        for several in ([1, 3], (3, 1), (np.int64(1), np.uint8(3))):
            got = pixel_contrast_loss(feats, labels, ignore_index=several, **options)
            assert got.item() == pytest.approx(want.item(), rel=1e-12)
        module = PixelContrastLoss(None, normalize=False, ignore_index=[3, 1], **options)
        assert module(feats, labels).item() == pytest.approx(want.item(), rel=1e-12)


def test_unsigned_labels_compare_by_value():
    feats, labels, *_ = random_case(1, pixels=30)
    module = PixelContrastLoss(None, ignore_index=-1)
    want = module(feats, torch.where(labels == 255, 7, labels))
    assert module(feats, labels.to(torch.uint8)).item() == pytest.approx(want.item(), rel=1e-12)


@pytest.mark.parametrize("grid", [4, (4, 4), [4, 4], np.int64(4), torch.Size([4, 4])])
def test_a_square_grid_may_be_one_number(grid):
    assert PixelContrastLoss(grid).grid == (4, 4)


@pytest.mark.parametrize("partner", [[1, 0], (1, 0), torch.tensor([1, 0], dtype=torch.int32)])
def test_partners_may_be_a_list(partner):
    feats, labels, *_ = random_case(1, images=2)
    options = {"scope": "cross", "partner": partner}
    want = pixel_contrast_loss(feats, labels, scope="cross", partner=torch.tensor([1, 0]))
    assert pixel_contrast_loss(feats, labels, **options) == want


@pytest.mark.parametrize("temperature", [1, np.float32(0.5), np.float64(0.5), torch.tensor([0.5])])
def test_temperatures_are_numbers_of_any_kind(temperature):
    feats, labels, *_ = random_case(1)
    want = pixel_contrast_loss(feats, labels, temperature=float(temperature))
    assert pixel_contrast_loss(feats, labels, temperature=temperature) == want


@pytest.mark.parametrize("backend", ["dense", "tiled"])
@pytest.mark.parametrize("scope,denominator", FORMS)
def test_another_default_device_changes_nothing(scope, denominator, backend, monkeypatch):
    """A tensor made on the default device here has no numbers, and would be noticed."""
    monkeypatch.setattr(tiled, "SMALL_PAIRS", 0)
    feats, labels, other, _ = random_case(1, images=2, pixels=20)
    maps, truth = feats.mT.unflatten(2, (4, 5)), labels.unflatten(1, (4, 5))
    options = {"scope": scope, "denominator": denominator, "backend": backend}

    def losses():
        torch.manual_seed(0)
        gen = torch.Generator("cpu").manual_seed(0)
        plain = loss_and_grads(feats, labels, other, **options)
        module = PixelContrastLoss((3, 3), **options, generator=gen)
        return [*plain, module(maps, truth)]

    want = losses()
    with torch.device("meta"):
        got = losses()
    assert all(torch.equal(a, b) for a, b in zip(got, want))


FEATS, LABELS = torch.zeros(2, 6, 4), torch.zeros(2, 6, dtype=torch.int64)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"feats": FEATS.numpy()}, "feats must be a torch.Tensor, not ndarray"),
        ({"labels": LABELS.tolist()}, "labels must be a torch.Tensor, not list"),
        ({"other_feats": FEATS.numpy()}, "other_feats must be a torch.Tensor, not ndarray"),
        (
            {"other_feats": FEATS, "other_labels": LABELS.numpy()},
            "other_labels must be a torch.Tensor, not ndarray",
        ),
        ({"temperature": "0.07"}, "temperature must be a positive number, not '0.07'"),
        ({"temperature": None}, "temperature must be a positive number, not None"),
        ({"temperature": True}, "temperature must be a positive number, not True"),
        ({"temperature": torch.tensor(-0.1)}, "temperature must be a positive number, not -0.1"),
        ({"temperature": torch.tensor(0.0)}, "temperature must be a positive number, not 0.0"),
        ({"temperature": torch.ones(2)}, r"a float tensor of one number, not \(2,\) torch.float32"),
        ({"temperature": torch.tensor(1)}, r"a float tensor of one number, not \(\) torch.int64"),
        ({"ignore_index": "255"}, "ignore_index must be None or hold integers only, not '255'"),
        ({"ignore_index": 255.0}, "ignore_index must be None or hold integers only, not 255.0"),
        ({"ignore_index": True}, "ignore_index must be None or hold integers only, not True"),
        ({"ignore_index": [1, "2"]}, "ignore_index must be None or hold integers only, not '2'"),
        ({"ignore_index": 2**63}, "ignore_index must be None or hold integers only"),
        ({"scope": "cross", "partner": [1]}, r"partner must be \(2,\) int64, not \(1,\)"),
        ({"scope": "cross", "partner": [0, 2]}, "partner must hold image numbers 0 to 1"),
        ({"scope": "cross", "partner": [0, -1]}, "partner must hold image numbers 0 to 1"),
        ({"scope": "cross", "partner": [0.0, 1.0]}, "partner must be None or hold integers only"),
        ({"scope": "cross", "partner": 1}, "partner must be a torch.Tensor, not int"),
        ({"scope": "cross", "generator": 0}, "generator must be a torch.Generator or None, not 0"),
        ({"gather_distributed": True}, "gather_distributed=True goes with scope='batch'"),
    ],
)
@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_errors_name_what_is_wrong(change, words, backend):
    given = {"feats": FEATS, "labels": LABELS, "backend": backend}
    with pytest.raises(LossInputError, match=words):
        pixel_contrast_loss(**(given | change))


@pytest.mark.parametrize(
    "change,words",
    [
        *(
            ({"grid": grid}, r"grid must be \(height, width\), the side of a square or None")
            for grid in [(65,), (9, 7, 2), 65.0, (9.0, 9.0), (0, 5), -3, True, "65", (True, 4), ()]
        ),
        ({"temperature": "warm"}, "temperature must be a positive number, not 'warm'"),
        ({"ignore_index": 1.5}, "ignore_index must be None or hold integers only, not 1.5"),
        ({"scope": "cross", "gather_distributed": True}, "goes with scope='batch'"),
    ],
)
def test_a_module_refuses_wrong_options_when_it_is_made(change, words):
    with pytest.raises(LossInputError, match=words):
        PixelContrastLoss(**change)


@pytest.mark.parametrize(
    "feats,labels,words",
    [
        (FEATS.numpy(), LABELS, "feats must be a torch.Tensor, not ndarray"),
        (torch.zeros(2, 4, 3, 3), [[0]], "labels must be a torch.Tensor, not list"),
        (torch.zeros(2, 4, 3, 3), LABELS, r"labels \(B,H,W\).*\(2, 6\).*grid=None"),
        (FEATS, LABELS, r"feats must be \(B,D,H,W\).*\(2, 6, 4\).*grid=None"),
    ],
)
def test_a_module_refuses_wrong_tensors(feats, labels, words):
    with pytest.raises(LossInputError, match=words):
        PixelContrastLoss((3, 3))(feats, labels)


def test_a_module_without_grid_names_shapes_that_do_not_fit():
    with pytest.raises(LossInputError, match=r"labels must be \(2, 6\)"):
        PixelContrastLoss(None)(FEATS, LABELS[:, :5])
    with pytest.raises(LossInputError, match=r"labels must be \(2, 6\)"):
        PixelContrastLoss(None)(FEATS, LABELS[:, :, None])
