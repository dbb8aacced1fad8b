"""Random cases of the loss and its definition in plain Python loops, shared by the loss tests."""

import math

import torch

from cseg.losses import pixel_contrast_loss


def random_case(seed, images=3, pixels=12, channels=4, classes=3, other_pixels=None, scale=1.0):
    """Features and labels of two views (float64), about a tenth of the pixels ignored."""
    gen = torch.Generator().manual_seed(seed)

    def view(count):
        feats = torch.randn(images, count, channels, generator=gen, dtype=torch.float64)
        feats = scale * torch.nn.functional.normalize(feats, dim=2)
        labels = torch.randint(0, classes, (images, count), generator=gen)
        labels[torch.rand(images, count, generator=gen) < 0.1] = 255
        return feats, labels

    feats, labels = view(pixels)
    other, other_labels = view(other_pixels or pixels)
    return feats, labels, other, other_labels


def loss_and_grads(feats, labels, other=None, other_labels=None, **options):
    """Loss and the gradients of both views, as float64."""
    feats = feats.detach().clone().requires_grad_()
    other = None if other is None else other.detach().clone().requires_grad_()
    loss = pixel_contrast_loss(feats, labels, other, other_labels, **options)
    loss.backward()
    grads = [feats.grad] + ([] if other is None else [other.grad])
    return [t.detach().double() for t in (loss, *grads)]


def relative_error(got, want, floors=None):
    """Largest over tensors of |got - want| / |want| in the Euclidean norm.

    `floors` are norms below which a tensor is rounding of an exact zero: errors are relative to
    them then. A tensor of zeros must be met exactly where no floor is given.
    """
    errors = []
    for g, w, floor in zip(got, want, floors or [0.0] * len(want), strict=True):
        assert torch.isfinite(g).all()
        errors.append(((g - w).norm() / max(w.norm().item(), floor, 1e-300)).item())
    return max(errors)


def log_sum_exp(values):
    if not values:
        return -math.inf
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def brute_force(
    feats, labels, other, other_labels, scope, denominator, temperature, partner, ignore=255
):
    """The issue's sentences, one pixel pair at a time; features and labels as nested lists."""

    def sim(a, b):
        return sum(x * y for x, y in zip(a, b)) / temperature

    def pixels_of(f, y):
        return [(x, c) for x, c in zip(f, y) if c != ignore]

    views = [[pixels_of(f, y) for f, y in zip(feats, labels)]]
    if other is not None:
        views.append([pixels_of(f, y) for f, y in zip(other, other_labels)])
    images, last = len(feats), views[-1]

    def paper(i):
        costs = []
        for x, c in views[0][i]:
            shared = [p for img in last for p in img] if scope == "batch" else list(last[i])
            extra = []
            if scope == "cross" and partner[i] != i:
                extra = [p for p in last[partner[i]] if p[1] == c]
            positives = [sim(x, y) for y, k in shared + extra if k == c]
            if positives:
                total = log_sum_exp([sim(x, y) for y, _ in shared + extra])
                costs.append(total - sum(positives) / len(positives))
        return sum(costs) / len(costs) if costs else 0.0

    def released(sides):
        bag = [(x, c, side) for side, img in enumerate(sides) for x, c in img]
        costs = []
        for x, c, side in bag:
            n = log_sum_exp([sim(x, y) for y, k, s in bag if k != c and s == side])
            positives = [sim(x, y) for y, k, _ in bag if k == c]
            costs.append(sum(log_sum_exp([n, s]) - s for s in positives) / len(positives))
        return sum(costs) / len(costs) if costs else 0.0

    if denominator == "all":
        return sum(paper(i) for i in range(images)) / images
    if scope == "within":
        return sum(released([img]) for view in views for img in view) / images
    if scope == "cross":
        return sum(released([views[0][i], last[partner[i]]]) for i in range(images)) / images
    return released([[p for view in views for img in view for p in img]])
