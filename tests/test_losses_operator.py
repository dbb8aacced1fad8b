"""The operator under torch.compile, torch.export, meta and fake tensors."""

import itertools
import shutil

import pytest
import torch
from loss_cases import random_case
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cseg.losses import LossInputError, PixelContrastLoss, pixel_contrast_loss

FORMS = list(itertools.product(("within", "cross", "batch"), ("all", "negatives")))
# Compiling takes seconds: the fast tests see each scope and each denominator once.
COMPILED = [
    pytest.param(*form, marks=[] if form in FORMS[::3] + FORMS[5:] else pytest.mark.slow)
    for form in FORMS
]


class Step(nn.Module):
    """A network and the loss of its features on two views."""

    def __init__(self, scope="within", denominator="all"):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Conv2d(3, 8, 3, padding=1)
        tau = nn.Parameter(torch.tensor(0.1))
        options = {"scope": scope, "denominator": denominator, "temperature": tau}
        self.criterion = PixelContrastLoss(grid=5, **options)

    def forward(self, images, labels):
        return self.criterion(self.network(images), labels, self.network(images.flip(3)))


def batch(seed=0, images=3):
    gen = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (images, 15, 15), generator=gen)
    labels[:, :3] = 255
    return torch.randn(images, 3, 9, 9, generator=gen), labels


def trained(step, module, given):
    """Loss and gradients of a step; random pairs are drawn after the same seed."""
    module.zero_grad()
    torch.manual_seed(3)
    loss = step(*given)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize("scope,denominator", COMPILED)
def test_torch_check_of_the_operator(scope, denominator):
    feats, labels, other, other_labels = random_case(0, images=2, pixels=6)
    other = other.mT.contiguous().mT  # channel by channel in memory, as maps are
    partner = torch.tensor([1, 0]) if scope == "cross" else None
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    views = (feats.requires_grad_(), labels, other.requires_grad_(), other_labels)
    arguments = (*views, tau, partner, scope, denominator, 255, True, "tiled", [True] * 3)
    torch.library.opcheck(torch.ops.cseg.pixel_contrast, arguments)


def test_torch_check_of_a_single_view_without_gradient():
    feats, labels, *_ = random_case(0, images=2, pixels=6)
    tau = torch.tensor(0.5, dtype=torch.float64)
    arguments = (feats.bfloat16(), labels, None, None, tau, None, "within", "all", 255, False,
                 "auto", [False] * 3)  # fmt: skip
    torch.library.opcheck(torch.ops.cseg.pixel_contrast, arguments)


@pytest.mark.parametrize("scope,denominator", COMPILED)
def test_a_training_step_compiles_as_one_graph_and_only_once(scope, denominator):
    torch._dynamo.reset()
    module = Step(scope, denominator)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        given = batch(seed)
        with torch.compiler.set_stance("fail_on_recompile" if seed else "default"):
            got = trained(compiled, module, given)
        for one, two in zip(got, trained(module, module, given)):
            torch.testing.assert_close(one, two)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
def test_a_training_step_through_the_default_compiler():
    torch._dynamo.reset()
    module = Step("cross", "all")
    compiled = torch.compile(module, fullgraph=True)
    for one, two in zip(trained(compiled, module, batch()), trained(module, module, batch())):
        torch.testing.assert_close(one, two)


def test_second_derivatives_through_a_compiled_step_are_refused_by_torch():
    torch._dynamo.reset()
    feats, labels, *_ = random_case(0)
    compiled = torch.compile(pixel_contrast_loss, fullgraph=True, backend="aot_eager")
    feats.requires_grad_()
    (grad,) = torch.autograd.grad(compiled(feats, labels), feats, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        grad.square().sum().backward()


@pytest.mark.parametrize("scope,denominator", COMPILED)
def test_export_computes_the_same(scope, denominator):
    module = Step(scope, denominator)
    program = torch.export.export(module, batch())
    targets = [str(node.target) for node in program.graph.nodes]
    assert "cseg.pixel_contrast.default" in targets
    torch.manual_seed(3)
    got = program.module()(*batch(1))
    torch.manual_seed(3)
    torch.testing.assert_close(got, module(*batch(1)))


@pytest.mark.parametrize("scope,denominator", FORMS)
@pytest.mark.parametrize("where", ["meta", "fake"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_shapes_and_dtypes_are_known_without_numbers(scope, denominator, where, dtype):
    feats, labels, other, _ = random_case(0, images=2, pixels=6)
    options = {"scope": scope, "denominator": denominator}
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def shown(move):
        views = [move(view.to(dtype, copy=True)).requires_grad_() for view in (feats, other)]
        loss = pixel_contrast_loss(views[0], move(labels), views[1], **options)
        loss.backward()
        return [(t.shape, t.dtype) for t in (loss, views[0].grad, views[1].grad)]

    want = shown(lambda t: t)
    if where == "meta":
        assert shown(lambda t: t.to("meta")) == want
        return
    with mode:
        assert shown(mode.from_tensor) == want


def test_an_exported_or_compiled_loss_refuses_a_wrong_temperature():
    torch._dynamo.reset()
    module = Step()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    compiled(*batch())
    module.criterion.temperature.data.fill_(-1)
    with pytest.raises(LossInputError, match="temperature must be a positive number, not -1"):
        compiled(*batch())


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_transforms_inside_a_compiled_function(denominator):
    torch._dynamo.reset()
    feats, labels, *_ = random_case(0, images=2, pixels=6)

    def loss(one):
        return pixel_contrast_loss(one, labels, denominator=denominator)

    def both(one):
        slope = torch.func.jvp(loss, (one,), (torch.ones_like(one),))[1]
        return torch.func.grad(loss)(one), slope

    for got, want in zip(torch.compile(both, backend="aot_eager")(feats), both(feats)):
        torch.testing.assert_close(got, want)
