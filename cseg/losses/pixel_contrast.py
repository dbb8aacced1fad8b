"""Label-based contrast between the pixels of images, as a function."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cseg.losses import dense, gather
from cseg.losses.checks import (
    NO_LABEL,
    LossInputError,
    check_options,
    check_values,
    check_views,
    checked_ignored,
    checked_partner,
    checked_temperature,
    flatten_pixels,
)
from cseg.losses.operator import pixel_contrast, random_pairing
from cseg.losses.scopes import View


def pixel_contrast_loss(
    feats: Tensor,
    labels: Tensor,
    other_feats: Tensor | None = None,
    other_labels: Tensor | None = None,
    *,
    scope: str = "within",
    denominator: str = "all",
    temperature: float | Tensor = 0.07,
    ignore_index: int | Sequence[int] | None = 255,
    partner: Tensor | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
    gather_distributed: bool = False,
    normalize: bool = False,
) -> Tensor:
    """Supervised contrastive loss over all pixels, exact, in memory linear in the pixels.

    Source: Zhao et al., "Contrastive Learning for Label Efficient Semantic Segmentation", ICCV
    2021. With s_pq = f_p·f_q / temperature and e = exp(s), an anchor pixel p of label c costs

    denominator="all" (the paper): mean over positives q of `-log(e_pq / Σ_k e_pk)`. Anchors are
    the pixels of `feats[i]`; candidates k those of `other_feats[i]` ("within"), also the pixels of
    label c of `other_feats[partner[i]]` ("cross"; an image paired with itself falls back to
    "within"), or those of all images ("batch"). Positives are the candidates of label c.

    denominator="negatives" (the authors' release): mean over positives q of
    `-log(e_pq / (e_pq + Σ_k e_pk))`, k over the pixels of other labels in p's image. Anchors and
    candidates are one set, self-pairs included: each view by itself, the two losses added
    ("within"); `feats[i]` with `other_feats[partner[i]]`, where negatives come from p's own image
    only ("cross"); all pixels of both views in one bag ("batch").

    The mean runs over each image's valid anchors (not ignored, at least one positive), then over
    images; an image without valid anchors counts as 0. Under "cross"/"negatives" a pair, and under
    "batch"/"negatives" the whole bag, takes the place of the image. Features are used as given
    unless `normalize` is set.

    With `gather_distributed`, the bag of scope="batch" holds the pixels of all ranks (equal shapes
    on each, any number of them ignored). Every rank returns the loss of the whole batch, and the
    gradient of its own features is what one process would have computed; a temperature's gradients
    add up to it over ranks. DistributedDataParallel averages over ranks: multiply the loss by the
    number of ranks there.

    First derivatives are computed together with the value. If more is asked for (create_graph,
    torch.func, forward mode), all pairs are held in memory as by backend="dense".

    Args:
        feats: (B,D,H,W) or (B,P,D), any float dtype; half types are accumulated in float32.
        labels: (B,H,W) or (B,P), any integer dtype and any values.
        other_feats: the distorted views in the same batch order, same B and D (the number of
            pixels may differ if `other_labels` is given, and so may the number of images under
            scope="batch"); None takes `feats` themselves.
        other_labels: labels of `other_feats`; None takes `labels`.
        scope: "within", "cross" or "batch".
        denominator: "all" (the paper's) or "negatives" (the release's).
        temperature: divides the similarities, > 0; 0.07 is the release's. A float tensor of one
            number (on the CPU or the features' device) receives its gradient.
        ignore_index: pixels of this label take part in nothing, whatever their features hold; a
            list or tuple ignores several labels, None none (-2**63 must not be a label then).
        partner: (B,) int64 or a list, the image paired with each under scope="cross"; None draws
            a random derangement from `generator`.
        generator: source of the derangement; None uses torch's global one.
        backend: "dense" (all pairs in memory, plain autograd), "tiled" (PyTorch, lean), "triton"
            (fused CUDA kernels, float32 or half types, up to 512 channels; similarities too large
            for float32 go to tiled, in float64) or "auto": triton on CUDA where it can, tiled
            elsewhere.
        gather_distributed: whether the batch is that of all ranks of torch.distributed's default
            group, under scope="batch"; every rank must call the loss then.
        normalize: scale every pixel's features to length 1, as `PixelContrastLoss` does.

    Returns:
        Scalar tensor, float64 for float64 features and float32 otherwise.

    Raises:
        LossInputError: a wrong shape, dtype or option, by name.
    """
    check_options(scope, denominator, backend, gather_distributed)
    temperature = checked_temperature(temperature)
    ignored = checked_ignored(ignore_index)
    if other_feats is None and other_labels is not None:
        raise LossInputError("other_labels is given without other_feats; give both or neither")
    views = [flatten_pixels("feats", feats, "labels", labels, ignored)]
    if other_feats is not None:
        other_labels = labels if other_labels is None else other_labels
        other = flatten_pixels("other_feats", other_feats, "other_labels", other_labels, ignored)
        check_views(views[0][0], other[0], scope)
        views.append(other)
    images = len(views[0][0])
    pairs = None
    if scope == "cross" and partner is None and generator is None:
        pairs = random_pairing(images)  # an operator, so that it can be compiled
    elif scope == "cross":
        pairs = checked_partner(partner, images, generator)
    options = (scope, denominator, ignored[0] if ignored else NO_LABEL, normalize, backend)

    ranks = gather.world_size() if gather_distributed else 1
    if ranks == 1:
        return _loss(views, temperature, pairs, *options)
    gather.check_shapes([values for values, _ in views])
    if denominator == "all":  # each rank its own anchors against everybody's candidates
        loss = _loss([views[0], gather.gathered(views[-1], add=True)], temperature, pairs, *options)
        return gather.sum_values(loss / ranks)
    # Each rank the whole bag.
    if isinstance(temperature, Tensor):  # each rank's share of its gradient
        temperature = temperature.detach() + (temperature - temperature.detach()) / ranks
    views = [gather.gathered(view, add=False) for view in views]
    return _loss(views, temperature, pairs, *options)


def _loss(
    views: Sequence[View],
    temperature: float | Tensor,
    partner: Tensor | None,
    scope: str,
    denominator: str,
    ignore_index: int,
    normalize: bool,
    backend: str,
) -> Tensor:
    """The loss of this process's tensors, by the operator or by the dense form."""
    tau = temperature
    if not isinstance(tau, Tensor):
        tau = torch.tensor(tau, dtype=torch.float64, device="cpu")
    feats, labels = views[0]
    other_feats, other_labels = views[1] if len(views) == 2 else (None, None)
    form = (scope, denominator, ignore_index, normalize)
    leaves = (feats, other_feats, tau)
    transformed = _transformed(leaves)
    if backend == "dense" or transformed:
        if not transformed and not torch.compiler.is_compiling():
            check_values(tau, partner, len(feats))
        return dense.view_loss(views, tau, partner, *form)
    record = torch.is_grad_enabled()
    needs = [record and leaf is not None and leaf.requires_grad for leaf in leaves]
    inputs = (feats, labels, other_feats, other_labels, tau, partner)
    return pixel_contrast(*inputs, *form, backend, needs)[0]


def _transformed(leaves: tuple[Tensor | None, ...]) -> bool:
    """Whether torch.func or forward mode is at work: an operator would drop their derivatives."""
    if torch._C._are_functorch_transforms_active():
        return True
    return not torch.compiler.is_compiling() and any(
        leaf is not None and forward_ad.unpack_dual(leaf).tangent is not None for leaf in leaves
    )
