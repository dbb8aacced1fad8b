"""Normalising within the loss: the same numbers as torch's, with less memory."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from loss_cases import relative_error

from cseg.losses import PixelContrastLoss, pixel_contrast_loss, unit

FORMS = [(s, d) for s in ("within", "cross", "batch") for d in ("all", "negatives")]


def maps(seed=0, dtype=torch.float64):
    """Two views of feature maps and labels, an eighth of them ignored."""
    gen = torch.Generator().manual_seed(seed)
    feats, other = (torch.randn(3, 16, 5, 4, generator=gen, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(0, 3, (3, 5, 4), generator=gen)
    labels[torch.rand(labels.shape, generator=gen) < 1 / 8] = 255
    return 3 * feats.to(dtype), labels, (3 * other).to(dtype)


def loss_and_grads(loss, feats, labels, other):
    """Loss and the gradients of both views and of the temperature, in float64."""
    leaves = [feats.clone().requires_grad_(), other.clone().requires_grad_()]
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    value = loss(leaves[0], labels, leaves[1], tau)
    value.backward()
    return [t.double() for t in (value.detach(), leaves[0].grad, leaves[1].grad, tau.grad)]


def by_module(backend, scope, denominator):
    def loss(feats, labels, other, tau):
        module = PixelContrastLoss(
            None, scope=scope, denominator=denominator, temperature=tau, backend=backend
        )
        return module(feats, labels, other, partner=[1, 2, 0])

    return loss


def by_hand(scope, denominator):
    """Autograd's own normalising before the dense form."""

    def loss(feats, labels, other, tau):
        views = [F.normalize(view, dim=1) for view in (feats, other)]
        return pixel_contrast_loss(
            views[0], labels, views[1], scope=scope, denominator=denominator, temperature=tau,
            partner=[1, 2, 0] if scope == "cross" else None, backend="dense",
        )  # fmt: skip

    return loss


@pytest.mark.parametrize("chunk", [unit.CHUNK, 300, 7])
@pytest.mark.parametrize("layout", ["pixels", "maps"])  # maps: channel by channel in memory
@pytest.mark.parametrize("channels", [3, 64])
def test_float32_bits_are_those_of_autograd(monkeypatch, chunk, layout, channels):
    monkeypatch.setattr(unit, "CHUNK", chunk)
    gen = torch.Generator().manual_seed(channels)
    ignored = torch.rand(3, 63, generator=gen) < 0.2
    feats = torch.randn(3, 63, channels, generator=gen)
    feats[0, 0] = 0
    dim = 1 if layout == "maps" else 2
    leaf = (feats.mT.contiguous() if dim == 1 else feats).clone().requires_grad_()
    want = F.normalize(leaf.masked_fill(ignored.unsqueeze(dim), 0), dim=dim)
    grad = torch.randn(3, 63, channels, generator=gen)
    want.backward(grad.mT if dim == 1 else grad)
    want, wanted_grad = (t.mT if dim == 1 else t for t in (want, leaf.grad))
    if dim == 1:
        feats = leaf.detach().mT

    got, length = unit.unit_and_length(feats, ignored)
    got_grad = unit.through_length(grad, feats, ignored, length)
    assert torch.equal(got, want)
    assert torch.equal(got_grad, wanted_grad)
    assert got_grad.stride() == wanted_grad.stride()  # the layers before compute in its layout


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("backend", ["dense", "tiled"])
def test_loss_and_gradients_are_those_of_normalised_features(backend, scope, denominator):
    got = loss_and_grads(by_module(backend, scope, denominator), *maps())
    want = loss_and_grads(by_hand(scope, denominator), *maps())
    assert relative_error(got, want) < 1e-12


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("backend", ["tiled", "triton"])
@pytest.mark.parametrize("dtype,limit", [(torch.bfloat16, 0.005), (torch.float16, 0.002)])
def test_half_types(backend, scope, denominator, dtype, limit):
    given = maps(dtype=dtype)
    got = loss_and_grads(by_module(backend, scope, denominator), *given)
    exact = [view.double() if view.is_floating_point() else view for view in given]
    want = loss_and_grads(by_hand(scope, denominator), *exact)
    assert relative_error(got[:3], want[:3]) < limit


def test_second_derivatives_go_through_the_length():
    feats, labels, other = maps()
    feats, other, labels = feats[:2, :3, :, :2], other[:2, :3, :, :2], labels[:2, :, :2]
    loss = PixelContrastLoss(None, temperature=0.5)
    torch.autograd.gradgradcheck(
        lambda one, two: loss(one, labels, two),
        (feats.requires_grad_(), other.requires_grad_()),
    )


def test_features_on_the_grid_that_do_not_fit_their_labels_are_refused():
    feats, labels, _ = maps()
    with pytest.raises(ValueError, match="labels must be"):
        PixelContrastLoss(None).on_grid(feats, labels[:, :3])


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_normalising_takes_no_wide_copies_of_half_wide_features(monkeypatch, denominator):
    """Thirteen times the features were taken at the peak when autograd normalised them.

    Of the five left, Triton's interpreter takes up to three, which copies what a kernel is given.
    """
    monkeypatch.setattr(unit, "CHUNK", 2**11)
    gen = torch.Generator().manual_seed(0)
    feats = torch.randn(4, 64, 128, generator=gen).bfloat16().requires_grad_()
    labels = torch.randint(0, 3, (4, 64), generator=gen)
    module = PixelContrastLoss(None, denominator=denominator, backend="triton")
    with torch.profiler.profile(profile_memory=True) as profile:
        module(feats, labels).backward()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    peak = max(itertools.accumulate(size for _, size in changes))
    assert feats.nbytes < peak < 5.5 * feats.nbytes


def test_a_network_before_the_loss_learns_the_same_bits():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 1)
    ).to(memory_format=torch.channels_last)
    images = torch.randn(3, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 4, (3, 12, 12))
    labels[:, :2] = 255

    def by_torch(feats):
        feats = feats.masked_fill((labels == 255)[:, None], 0)
        return pixel_contrast_loss(F.normalize(feats, dim=1), labels)

    grads = []
    for loss in (by_torch, lambda feats: PixelContrastLoss(None)(feats, labels)):
        network.zero_grad()
        loss(network(images)).backward()
        grads.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.equal(grads[0], grads[1])
