"""The loss over two ranks is that of one process on the whole batch, gradients included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loss_cases import loss_and_grads, random_case, relative_error

from cseg.losses import LossInputError, pixel_contrast_loss

OPTIONS = [
    {"denominator": denominator, "backend": backend, "with_other": with_other, "even": even}
    for denominator in ("all", "negatives")
    for backend in ("tiled", "dense")
    for with_other in (True, False)
    for even in (True, False)
]


def whole_batch(even):
    """Four images; unless `even`, the first rank's are ignored almost everywhere."""
    feats, labels, other, other_labels = random_case(0, images=4, pixels=12, classes=5)
    if not even:
        labels[0], labels[1, 2:], other_labels[0, 1:], other_labels[3, :4] = 255, 255, 255, 255
    return feats, labels, other, other_labels


def compute(case, options):
    """Loss, gradients of the features, and the gradient of the temperature."""
    feats, labels, other, other_labels = case
    if not options["with_other"]:
        other = other_labels = None
    rest = {k: options[k] for k in ("denominator", "backend")}
    rest["gather_distributed"] = torch.distributed.is_initialized()
    tau = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)
    rest |= {"scope": "batch", "temperature": tau}
    return [*loss_and_grads(feats, labels, other, other_labels, **rest), tau.grad]


def one_rank(rank, store):
    """Body of a rank's process: prints its losses and gradients, then the error of a misfit."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    results = []
    for options in OPTIONS:
        mine = [t[2 * rank : 2 * rank + 2] for t in whole_batch(options["even"])]
        results.append([t.tolist() for t in compute(mine, options)])
    feats = mine[0].clone().requires_grad_()
    gathered = pixel_contrast_loss(feats, mine[1], scope="batch", gather_distributed=True)
    try:
        torch.autograd.grad(gathered, feats, create_graph=True)
        refusal = ""
    except LossInputError as error:
        refusal = str(error)
    try:
        pixel_contrast_loss(
            mine[0][: 1 + rank], mine[1][: 1 + rank], scope="batch", gather_distributed=True
        )
        message = ""
    except LossInputError as error:
        message = str(error)
    # Without being asked, no scope communicates: one rank alone may call it.
    alone = None
    if rank == 0:
        pixel_contrast_loss(mine[0], mine[1], scope="cross")
        alone = pixel_contrast_loss(mine[0], mine[1], scope="batch").item()
    dist.destroy_process_group()
    want = pixel_contrast_loss(mine[0], mine[1], scope="batch").item()
    printed = {"results": results, "message": message, "refusal": refusal}
    print(json.dumps(printed | {"alone": [alone, want]}))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    store = tmp_path_factory.mktemp("gloo") / "store"
    command = [sys.executable, __file__]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [*command, str(rank), str(store)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for rank in (0, 1)
    ]
    printed = [process.communicate(timeout=600)[0] for process in running]
    return [json.loads(text.splitlines()[-1]) for text in printed]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_two_ranks_are_one_process(ranks, number):
    loss, *grads, tau_grad = compute(whole_batch(OPTIONS[number]["even"]), OPTIONS[number])
    got = [[torch.tensor(t, dtype=torch.float64) for t in r["results"][number]] for r in ranks]
    for rank in got:
        assert rank[0].item() == pytest.approx(loss.item(), rel=1e-12)
    joined = [torch.cat(parts) for parts in zip(*(rank[1:-1] for rank in got))]
    assert relative_error(joined, grads) < 1e-12
    assert relative_error([got[0][-1] + got[1][-1]], [tau_grad]) < 1e-12


@pytest.mark.slow
def test_a_rank_that_does_not_gather_computes_its_own_batch(ranks):
    got, want = ranks[0]["alone"]
    assert got == want


@pytest.mark.slow
def test_second_derivatives_over_ranks_are_refused(ranks):
    assert all("no second derivatives" in rank["refusal"] for rank in ranks)


def test_gathering_in_one_process_is_its_own_batch():
    feats, labels, *_ = whole_batch(True)
    one, two = (
        pixel_contrast_loss(feats, labels, scope="batch", gather_distributed=gather)
        for gather in (True, False)
    )
    assert one == two


@pytest.mark.slow
def test_ranks_of_different_shape_are_told(ranks):
    assert all("on all ranks" in rank["message"] for rank in ranks)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    one_rank(int(sys.argv[1]), sys.argv[2])
