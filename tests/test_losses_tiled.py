"""The lean backend agrees with the float64 oracle, loss and gradients, wherever it may be used."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import loss_and_grads, random_case, relative_error

from cseg.losses import (
    PixelContrastLoss,
    counts,
    pixel_contrast_loss,
    row_blocks,
    scopes,
    tiled,
    triangle,
)

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))


@pytest.fixture(params=["batched", "tiles", "tiles-recomputed"])
def route(request, monkeypatch):
    """Each way the backend may go, whatever the size of the case; small tiles make many of them."""
    monkeypatch.setattr(tiled, "SMALL_PAIRS", 10**9 if request.param == "batched" else 0)
    for module in (triangle, row_blocks):
        monkeypatch.setattr(module, "SMALL", 6)
    monkeypatch.setattr(triangle, "ROWS", 5)
    monkeypatch.setattr(row_blocks, "ROWS", 5)
    monkeypatch.setattr(row_blocks, "COLS", 7)
    if request.param == "tiles-recomputed":
        monkeypatch.setattr(triangle, "KEEP_BYTES", 2000)
    return request.param


def errors_against_oracle(case, dtype=torch.float32, **options):
    """Relative error of loss and gradients, both computed from the same features of `dtype`.

    Errors of values that all but cancel are measured against 1/20 of what they cancel from:
    the similarities (and 1, for log 1 = 0) in the loss, every anchor's pull in the gradients.
    """
    feats, labels, other, other_labels = case
    feats = feats.to(dtype)
    other = None if other is None else other.to(dtype)
    got = loss_and_grads(feats, labels, other, other_labels, backend="tiled", **options)
    wide = [None if f is None else f.double() for f in (feats, other)]
    want = loss_and_grads(wide[0], labels, wide[1], other_labels, backend="dense", **options)
    length = max(f.norm(dim=2).max().item() for f in wide if f is not None)
    pull = length / options.get("temperature", 0.07)
    # A single anchor may carry the whole weight, so the floor does not fall with their number.
    floors = [0.05 * (1 + pull * length)] + [0.05 * pull] * (len(want) - 1)
    return relative_error(got, want, floors)


@settings(max_examples=25, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    seed=st.integers(0, 10**6),
    images=st.integers(1, 3),
    pixels=st.integers(1, 31),
    other_pixels=st.integers(1, 31),
    channels=st.sampled_from([1, 3, 8]),
    classes=st.sampled_from([1, 2, 4, 40]),
    temperature=st.sampled_from([0.01, 0.07, 1.0]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    with_other=st.booleans(),
    partner_seed=st.integers(0, 99),
)
def check_random_cases(
    form,
    seed,
    images,
    pixels,
    other_pixels,
    channels,
    classes,
    temperature,
    scale,
    with_other,
    partner_seed,
):
    case = random_case(seed, images, pixels, channels, classes, other_pixels, scale)
    if not with_other:
        case = (*case[:2], None, None)
    partner = torch.randint(
        images, (images,), generator=torch.Generator().manual_seed(partner_seed)
    )
    scope, denominator = form
    options = {"scope": scope, "denominator": denominator, "temperature": temperature}
    assert errors_against_oracle(case, torch.float64, partner=partner, **options) < 1e-10
    assert errors_against_oracle(case, torch.float32, partner=partner, **options) < 1e-5


def test_random_cases(route):
    check_random_cases()


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("classes", [6, 500])
def test_real_tile_sizes(scope, denominator, classes):
    # 1100 pixels make several tiles and row blocks of the real sizes; the typical error is 3e-7.
    case = random_case(1, images=1, pixels=1100, channels=16, classes=classes)
    options = {"scope": scope, "denominator": denominator}
    assert errors_against_oracle(case, **options) < 1e-6


@pytest.mark.parametrize("scope,denominator", FORMS)
def test_gradcheck(scope, denominator, route):
    feats, labels, other, other_labels = random_case(5, images=2, pixels=9, channels=3)

    def loss(one, two):
        options = {"scope": scope, "denominator": denominator, "temperature": 0.5}
        partner = torch.tensor([1, 0])
        return pixel_contrast_loss(one, labels, two, other_labels, partner=partner, **options)

    torch.manual_seed(0)  # fast_mode draws the direction in which it differentiates
    views = (feats.requires_grad_(), other.requires_grad_())
    assert torch.autograd.gradcheck(loss, views, fast_mode=True)


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("ignored", ["all", "all of the other view", "an image", "none"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_ignored_pixels(scope, denominator, ignored, scale, route):
    feats, labels, other, other_labels = random_case(7, images=3, pixels=20, scale=scale)
    labels, other_labels = labels.clamp(max=2), other_labels.clamp(max=2)
    if ignored in ("all", "all of the other view"):
        other_labels[:] = 255
    if ignored == "all":
        labels[:] = 255
    if ignored == "an image":
        labels[1] = other_labels[1] = 255
    case = (feats, labels, other, other_labels)
    options = {"scope": scope, "denominator": denominator, "partner": torch.tensor([1, 2, 0])}
    assert errors_against_oracle(case, **options) < 1e-5
    if ignored == "all" or (ignored == "all of the other view" and denominator == "all"):
        for zero in loss_and_grads(feats.float(), labels, other.float(), other_labels, **options):
            assert torch.equal(zero, torch.zeros_like(zero))


@pytest.mark.parametrize("scope,denominator", FORMS)
def test_any_integers_are_labels(scope, denominator, route):
    feats, labels, other, _ = random_case(2, images=2, pixels=20)
    strange = torch.tensor([-(2**62), 0, 7])[labels.clamp(max=2)]
    strange[labels == 255] = -1
    options = {"scope": scope, "denominator": denominator, "partner": torch.tensor([1, 0])}
    plain = loss_and_grads(feats, labels, other, **options)
    other_names = loss_and_grads(feats, strange, other, ignore_index=-1, **options)
    for one, two in zip(plain, other_names):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast(scope, denominator, dtype, route):
    case = random_case(3, images=2, pixels=40, channels=32)
    with torch.autocast("cpu", dtype):
        error = errors_against_oracle(
            case, dtype, scope=scope, denominator=denominator, partner=torch.tensor([1, 0])
        )
    assert error < 0.005


@pytest.mark.parametrize("scope,denominator", FORMS)
def test_half_gradients_survive_a_loss_scale(scope, denominator):
    # fp16 holds nothing below 6e-8: the scale must reach the gradient before the rounding does.
    feats, labels, other, _ = random_case(3, images=2, pixels=60, channels=4, scale=0.05)
    options = {"scope": scope, "denominator": denominator, "temperature": 100.0}
    half = feats.half().requires_grad_()
    (pixel_contrast_loss(half, labels, other.half(), **options) * 2**20).backward()
    wide = half.detach().double().requires_grad_()
    pixel_contrast_loss(wide, labels, other.half().double(), **options).backward()
    assert relative_error([half.grad.double() / 2**20], [wide.grad]) < 0.005


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_same_bits_each_time(denominator, route):
    feats, labels, other, other_labels = random_case(11, images=2, pixels=60, channels=32)
    options = {"scope": "cross", "denominator": denominator, "partner": torch.tensor([1, 0])}
    case = (feats.float(), labels, other.float(), other_labels)
    first = loss_and_grads(*case, **options)
    for again in loss_and_grads(*case, **options), loss_and_grads(*case, **options):
        assert all(torch.equal(a, b) for a, b in zip(first, again))


@pytest.mark.parametrize("scope,denominator", FORMS)
def test_gradient_of_one_view_only(scope, denominator, route):
    feats, labels, other, other_labels = random_case(4, images=2, pixels=20)
    options = {"scope": scope, "denominator": denominator, "partner": torch.tensor([1, 0])}
    both = loss_and_grads(feats, labels, other, other_labels, **options)
    for number in (0, 1):
        views = [feats.clone(), other.clone()]
        views[number].requires_grad_()
        pixel_contrast_loss(views[0], labels, views[1], other_labels, **options).backward()
        torch.testing.assert_close(views[number].grad, both[1 + number])
        assert views[1 - number].grad is None


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_no_gradient_wanted(denominator, route):
    feats, labels, other, _ = random_case(4, pixels=20)
    with torch.no_grad():
        loss = pixel_contrast_loss(feats, labels, other, denominator=denominator)
    assert not loss.requires_grad
    want = pixel_contrast_loss(feats, labels, other, denominator=denominator, backend="dense")
    torch.testing.assert_close(loss, want)


def test_module_learns():
    # The loss must fall when features are trained by it, and classes must come apart.
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(2, 8, 6, 6, generator=gen).requires_grad_()
    labels = torch.randint(0, 3, (2, 6, 6), generator=gen)
    loss_of = PixelContrastLoss(grid=(6, 6), scope="cross", generator=gen)
    steps = torch.optim.SGD([feats], lr=20.0)
    losses = []
    for _ in range(30):
        steps.zero_grad()
        loss = loss_of(feats, labels)
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("temperature", [0.028, 0.04, 0.06])
def test_worst_positives_and_best_negatives_stay_in_range(temperature, route):
    """Half of a class points against its other half, and with half of the other class."""
    feats = torch.ones(1, 40, 1)
    feats[:, 1::2] = -1
    labels = torch.arange(40)[None] // 20
    options = {"denominator": "negatives", "temperature": temperature}
    assert errors_against_oracle((feats, labels, None, None), **options) < 1e-5


@pytest.mark.parametrize("spread", [0.0, 1e-3])
def test_nearly_no_loss_is_as_exact_as_any(spread):
    """Classes that coincide and stand apart: the loss of a pair is far below one bit."""
    gen = torch.Generator().manual_seed(0)
    labels = torch.arange(600)[None] % 3
    centres = torch.eye(8, dtype=torch.float64)[:3]
    feats = centres[labels[0]] + spread * torch.randn(600, 8, generator=gen, dtype=torch.float64)
    feats = torch.nn.functional.normalize(feats, dim=1)[None]
    options = {"denominator": "negatives", "temperature": 0.07}
    want = loss_and_grads(feats, labels, backend="dense", **options)
    assert 0 < want[0] < 0.01
    got = loss_and_grads(feats.float(), labels, backend="tiled", **options)
    assert relative_error(got, want) < 1e-5


@given(total=st.integers(0, 5000), size=st.integers(1, 600))
def test_spans_cut_without_gap_into_few_aligned_pieces(total, size):
    cut = counts.spans(total, size)
    assert [i for start, stop in cut for i in range(start, stop)] == list(range(total))
    sizes = [stop - start for start, stop in cut]
    assert all(0 < length <= size for length in sizes)
    assert len(cut) <= -(-total // size)
    if size % counts.ALIGNED == 0:
        assert all(length % counts.ALIGNED == 0 for length in sizes[:-1])


@pytest.mark.parametrize("needs", list(itertools.product((True, False), repeat=2)))
def test_gradients_that_nobody_wants_are_not_computed(route, needs):
    feats, labels, other, other_labels = random_case(0)
    views = [(feats, labels), (other, other_labels)]
    bags = scopes.candidate_bags(views, "within", None, 255)
    _, grads = tiled.candidate_grads(bags, 0.5, 255, needs)
    assert [grad is not None for grad in grads] == list(needs)
    (whole,) = scopes.pixel_bags(views[:1], "within", None)
    _, grad = tiled.pixel_grads(whole, 0.5, 255, needs[0])
    assert (grad is not None) == needs[0]
