"""What the pixel contrastive loss computes: its definition, its edge cases, its errors."""

import itertools

import pytest
import torch
from loss_cases import brute_force, loss_and_grads, random_case

from cseg.losses import LossInputError, PixelContrastLoss, pixel_contrast_loss

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("with_other", [True, False])
@pytest.mark.parametrize("partner", [[1, 2, 0], [0, 2, 2]])
def test_dense_is_the_definition(scope, denominator, with_other, partner):
    feats, labels, other, other_labels = random_case(3, other_pixels=9)
    labels[1] = 255  # an image without valid anchors counts as zero
    if not with_other:
        other = other_labels = None
    want = brute_force(
        feats.tolist(),
        labels.tolist(),
        other.tolist() if with_other else None,
        other_labels.tolist() if with_other else None,
        scope,
        denominator,
        0.3,
        partner,
    )
    got = pixel_contrast_loss(
        feats,
        labels,
        other,
        other_labels,
        scope=scope,
        denominator=denominator,
        temperature=0.3,
        partner=torch.tensor(partner),
        backend="dense",
    )
    assert got.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("backend", ["dense", "auto"])
def test_values_of_the_authors_tests(backend):
    # Facts of contrastive_loss_test.py of the release: labels are their own 1-D features, two
    # pixels each of the ignored -2 and -1, four each of 1, 2, 3; temperature 1.
    labels = torch.tensor([[-2, -2, -1, -1] + [1] * 4 + [2] * 4 + [3] * 4] * 2)
    labels = torch.where(labels < 0, 255, labels)
    feats = labels[:, :, None].float()
    options = {"denominator": "negatives", "temperature": 1.0, "backend": backend}
    within = pixel_contrast_loss(feats, labels, **options)
    assert within.item() == pytest.approx(2.4503216, rel=1e-6)
    for one, two in [(feats, 2 * feats), (2 * feats, feats)]:
        cross = pixel_contrast_loss(one, labels, two, scope="cross", **options)
        assert cross.item() == pytest.approx(5.46027374, rel=1e-6)


def test_default_partner_is_a_derangement_from_the_generator():
    feats, labels, other, _ = random_case(0, images=4)

    def loss(partner=None, seed=0):
        gen = torch.Generator().manual_seed(seed)
        options = {"scope": "cross", "partner": partner, "generator": gen}
        return pixel_contrast_loss(feats, labels, other, **options).item()

    derangements = [
        p for p in itertools.permutations(range(4)) if all(i != j for i, j in zip(p, range(4)))
    ]
    values = [loss(torch.tensor(p)) for p in derangements]
    drawn = [loss(seed=seed) for seed in range(80)]
    assert drawn == [loss(seed=seed) for seed in range(80)]
    assert {min(range(9), key=lambda i: abs(values[i] - d)) for d in drawn} == set(range(9))
    assert all(min(abs(v - d) for v in values) < 1e-12 for d in drawn)


def test_single_image_cross_is_within():
    feats, labels, other, _ = random_case(0, images=1)
    cross = pixel_contrast_loss(feats, labels, other, scope="cross")
    assert cross == pixel_contrast_loss(feats, labels, other, scope="within")


def test_layouts_agree_and_gradients_keep_them():
    feats, labels, other, _ = random_case(1, pixels=12)
    maps = [f.mT.reshape(3, 4, 3, 4).contiguous() for f in (feats, other)]
    flat = loss_and_grads(feats, labels, other)
    image = loss_and_grads(maps[0], labels.view(3, 3, 4).to(torch.uint8), maps[1])
    assert image[0] == flat[0]
    assert image[1].shape == (3, 4, 3, 4)
    torch.testing.assert_close(image[1].flatten(2).mT, flat[1])


def test_dtype_of_the_loss():
    feats, labels, *_ = random_case(1)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert pixel_contrast_loss(feats.to(dtype), labels).dtype == torch.float32
    assert pixel_contrast_loss(feats, labels).dtype == torch.float64


def test_module_resizes_as_released_and_normalises():
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(2, 5, 9, 9, generator=gen)
    labels = torch.randint(0, 3, (2, 33, 33), generator=gen)
    loss = PixelContrastLoss(grid=(5, 5))(feats, labels)
    # A 5x5 grid on 9x9 and 33x33 with aligned corners falls onto every 2nd and every 8th pixel.
    plain = torch.nn.functional.normalize(feats[:, :, ::2, ::2], dim=1)
    want = pixel_contrast_loss(plain, labels[:, ::8, ::8])
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)


def test_module_without_grid_takes_pixel_lists():
    feats, labels, other, _ = random_case(2)
    module = PixelContrastLoss(grid=None, scope="batch", denominator="negatives")
    want = pixel_contrast_loss(feats, labels, other, scope="batch", denominator="negatives")
    assert module(3 * feats, labels, other).item() == pytest.approx(want.item(), rel=1e-9)
    assert "batch" in repr(module)
    options = {"scope": "batch", "denominator": "negatives", "normalize": True}
    assert pixel_contrast_loss(3 * feats, labels, other, **options) == module(
        3 * feats, labels, other
    )


@pytest.mark.parametrize(
    "change,words",
    [
        ({"feats": torch.zeros(2, 6)}, "feats.*(2, 6)"),
        ({"feats": torch.zeros(2, 6, 4, dtype=torch.int64)}, "feats.*int64"),
        ({"feats": torch.zeros(2, 0, 4)}, "feats.*empty"),
        ({"labels": torch.zeros(2, 5, dtype=torch.int64)}, r"labels.*\(2, 6\).*\(2, 5\)"),
        ({"labels": torch.zeros(2, 6)}, "labels.*float32"),
        ({"other_feats": torch.zeros(2, 6, 3)}, "other_feats.*channels"),
        ({"other_feats": torch.zeros(2, 6, 4).double()}, "other_feats.*float64"),
        ({"other_labels": torch.zeros(2, 6, dtype=torch.int64)}, "without other_feats"),
        ({"scope": "between"}, "scope.*between"),
        ({"denominator": "none"}, "denominator.*none"),
        ({"backend": "numpy"}, "backend.*numpy"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"scope": "cross", "partner": torch.tensor([0])}, r"partner.*\(2,\)"),
        ({"scope": "cross", "partner": torch.tensor([0, 2])}, "partner.*0 to 1"),
    ],
)
def test_errors_name_what_is_wrong(change, words):
    given = {"feats": torch.zeros(2, 6, 4), "labels": torch.zeros(2, 6, dtype=torch.int64)}
    with pytest.raises(LossInputError, match=words):
        pixel_contrast_loss(**(given | change))
