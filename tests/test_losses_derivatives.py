"""Derivatives beyond the first by the features: right through every engine, or refused."""

import itertools
import os

import pytest
import torch
from loss_cases import random_case, relative_error
from torch.autograd import functional

from cseg.compute.device import has_gpu
from cseg.losses import PixelContrastLoss, pixel_contrast_loss, row_blocks, tiled, triangle

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))
ENGINES = ["dense", "batched", "tiles"]


@pytest.fixture(params=ENGINES)
def backend(request, monkeypatch):
    """Each engine of a CPU, whatever the size of the case; small tiles make many of them."""
    if request.param == "dense":
        return "dense"
    monkeypatch.setattr(tiled, "SMALL_PAIRS", 10**9 if request.param == "batched" else 0)
    monkeypatch.setattr(triangle, "ROWS", 5)
    monkeypatch.setattr(row_blocks, "ROWS", 5)
    return "tiled"


def function_of(scope, denominator, backend, seed=5, two_views=True, temperature=0.5):
    """The loss as a function of features alone, and features (float64) to call it with."""
    feats, labels, other, other_labels = random_case(seed, images=2, pixels=4, channels=2)
    options = {"scope": scope, "denominator": denominator, "partner": [1, 0], "backend": backend}

    def loss(one, two=None, tau=temperature):
        given = (two, other_labels) if two is not None else (None, None)
        return pixel_contrast_loss(one, labels, *given, temperature=tau, **options)

    return loss, (feats, other) if two_views else (feats,)


@pytest.mark.parametrize("scope,denominator", FORMS)
def test_second_derivatives_by_features_and_temperature(scope, denominator, backend):
    loss, (feats, other) = function_of(scope, denominator, backend)
    inputs = (feats, other, torch.tensor(0.5, dtype=torch.float64))
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_a_gradient_penalty_trains_as_through_the_dense_form(denominator, backend):
    def penalised(name):
        loss, (feats,) = function_of("within", denominator, name, two_views=False)
        feats.requires_grad_()
        value = loss(feats)
        (grad,) = torch.autograd.grad(value, feats, create_graph=True)
        (value + grad.square().sum()).backward()
        return feats.grad

    got = penalised(backend)
    assert got.abs().sum() > 1
    assert relative_error([got], [penalised("dense")]) < 1e-10


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_autograd_functional(denominator, backend):
    loss, (feats,) = function_of("cross", denominator, backend, two_views=False)
    oracle, _ = function_of("cross", denominator, "dense", two_views=False)
    direction = torch.randn(feats.shape, generator=torch.Generator().manual_seed(0)).double()
    want = functional.hessian(oracle, feats)
    product = torch.tensordot(want, direction, 3)
    gradient = functional.jacobian(oracle, feats)
    slope = (gradient * direction).sum()
    assert product.abs().sum() > 1
    forward = {"strategy": "forward-mode", "vectorize": True}
    for got, wanted in [
        (functional.hessian(loss, feats), want),
        (functional.hessian(loss, feats, vectorize=True), want),
        (functional.hvp(loss, feats, direction)[1], product),
        (functional.vhp(loss, feats, direction)[1], product),
        (functional.jacobian(loss, feats), gradient),
        (functional.jacobian(loss, feats, vectorize=True), gradient),
        (functional.jacobian(loss, feats, **forward), gradient),
        (functional.jvp(loss, feats, direction)[1], slope),
    ]:
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("scope", ["within", "cross", "batch"])
def test_transforms_of_torch_func(scope, denominator):
    """They see through operators wrongly or not at all, so the dense form takes their place."""
    loss, (feats,) = function_of(scope, denominator, "auto", two_views=False)
    oracle, _ = function_of(scope, denominator, "dense", two_views=False)
    hessian = functional.hessian(oracle, feats)
    gradient = functional.jacobian(oracle, feats)
    direction = torch.ones_like(feats)
    several = torch.stack([feats, 2 * feats])
    tau = torch.tensor([0.5, 0.2], dtype=torch.float64)
    for got, wanted in [
        (torch.func.grad(loss)(feats), gradient),
        (torch.func.vjp(loss, feats)[1](torch.ones((), dtype=torch.float64))[0], gradient),
        (torch.func.jvp(loss, (feats,), (direction,))[1], gradient.sum()),
        (torch.func.hessian(loss)(feats), hessian),
        (torch.func.jacrev(torch.func.grad(loss))(feats), hessian),
        (torch.vmap(loss)(several), torch.stack([oracle(f) for f in several])),
        (
            torch.vmap(torch.func.grad(loss))(several),
            torch.stack([functional.jacobian(oracle, f) for f in several]),
        ),
        (
            torch.func.grad(lambda f: torch.vmap(loss)(f).sum())(several),
            torch.stack([functional.jacobian(oracle, f) for f in several]),
        ),
        (
            torch.vmap(lambda t: loss(feats, None, t))(tau),
            torch.stack([oracle(feats, None, t) for t in tau]),
        ),
    ]:
        torch.testing.assert_close(got, wanted)


def test_forward_mode():
    loss, (feats, other) = function_of("within", "all", "auto")
    oracle, _ = function_of("within", "all", "dense")
    gradient = functional.jacobian(oracle, (feats, other))[1]
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(other, torch.ones_like(other))
        slope = torch.autograd.forward_ad.unpack_dual(loss(feats, dual)).tangent
    torch.testing.assert_close(slope, gradient.sum())


def test_vmap_over_labels():
    feats, labels, *_ = random_case(0, images=2, pixels=7)
    several = torch.stack([labels, labels.roll(1, 1)])
    got = torch.vmap(lambda y: pixel_contrast_loss(feats, y))(several)
    torch.testing.assert_close(got, torch.stack([pixel_contrast_loss(feats, y) for y in several]))


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_a_second_backward_repeats_the_first(denominator, backend):
    loss, (feats, other) = function_of("cross", denominator, backend)
    feats.requires_grad_()
    value = loss(feats, other)
    first, second = (torch.autograd.grad(value, feats, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def temperature_gradient(case, backend, dtype, **options):
    feats, labels, other, other_labels = case
    views = (feats.to(dtype), labels, None if other is None else other.to(dtype), other_labels)
    tau = torch.nn.Parameter(torch.tensor(0.2))
    loss = pixel_contrast_loss(*views, temperature=tau, backend=backend, **options)
    loss.backward()
    assert tau.grad.shape == tau.shape and tau.grad.dtype == tau.dtype
    return tau.grad.double()


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("two_views", [True, False])
@pytest.mark.parametrize("dtype,limit", [(torch.float32, 1e-5), (torch.bfloat16, 0.005)])
def test_a_temperature_learns_in_every_engine(scope, denominator, two_views, dtype, limit, backend):
    case = random_case(8, images=2, pixels=20, channels=16)
    case = case if two_views else (*case[:2], None, None)
    options = {"scope": scope, "denominator": denominator, "partner": [1, 0]}
    rounded = [t.to(dtype).double() if t is not None and t.is_floating_point() else t for t in case]
    want = temperature_gradient(rounded, "dense", torch.float64, **options)
    assert want.abs() > 0.1
    got = temperature_gradient(case, backend, dtype, **options)
    assert relative_error([got], [want]) < limit


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_temperature_learns_through_the_kernels(scope, denominator):
    pytest.importorskip("triton")
    device = "cuda" if has_gpu() else "cpu"
    if device == "cpu" and os.environ.setdefault("TRITON_INTERPRET", "1") != "1":
        pytest.skip("triton was imported for a GPU")
    case = random_case(8, images=2, pixels=20, channels=16)
    options = {"scope": scope, "denominator": denominator, "partner": [1, 0]}
    want = temperature_gradient(case, "dense", torch.float64, **options)
    moved = [t.to(device) for t in case]
    got = temperature_gradient(moved, "triton", torch.float32, **options)
    assert relative_error([got], [want]) < 1e-5


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_module_learns_its_temperature(shape):
    tau = torch.nn.Parameter(torch.full(shape, 0.5))
    module = PixelContrastLoss(grid=4, temperature=tau)
    assert dict(module.named_parameters()) == {"temperature": tau}
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(2, 8, 6, 6, generator=gen)
    labels = torch.randint(0, 3, (2, 6, 6), generator=gen)
    steps = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        steps.zero_grad()
        loss = module(feats, labels)
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
