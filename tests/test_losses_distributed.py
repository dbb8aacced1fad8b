"""scope="batch" on two ranks is the loss of one process on the whole batch, gradients included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loss_cases import loss_and_grads, random_case, relative_error

OPTIONS = [
    {"denominator": denominator, "backend": backend, "with_other": with_other}
    for denominator in ("all", "negatives")
    for backend in ("tiled", "dense")
    for with_other in (True, False)
]


def whole_batch():
    return random_case(0, images=4, pixels=12, classes=5)


def compute(case, options):
    feats, labels, other, other_labels = case
    if not options["with_other"]:
        other = other_labels = None
    rest = {k: options[k] for k in ("denominator", "backend")}
    rest["gather_distributed"] = torch.distributed.is_initialized()
    return loss_and_grads(feats, labels, other, other_labels, scope="batch", **rest)


def one_rank(rank, store):
    """Body of a rank's process: prints its losses and gradients, then the error of a misfit."""
    import torch.distributed as dist

    from cseg.losses import LossInputError, pixel_contrast_loss

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mine = [t[2 * rank : 2 * rank + 2] for t in whole_batch()]
    results = [[t.tolist() for t in compute(mine, options)] for options in OPTIONS]
    try:
        pixel_contrast_loss(
            mine[0][: 1 + rank], mine[1][: 1 + rank], scope="batch", gather_distributed=True
        )
        message = ""
    except LossInputError as error:
        message = str(error)
    # The other scopes never communicate: one rank alone may call them.
    if rank == 0:
        pixel_contrast_loss(mine[0], mine[1], scope="cross")
    dist.destroy_process_group()
    print(json.dumps({"results": results, "message": message}))


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
    printed = [process.communicate(timeout=120)[0] for process in running]
    return [json.loads(text.splitlines()[-1]) for text in printed]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_two_ranks_are_one_process(ranks, number):
    loss, *grads = compute(whole_batch(), OPTIONS[number])
    got = [[torch.tensor(t, dtype=torch.float64) for t in r["results"][number]] for r in ranks]
    for rank in got:
        assert rank[0].item() == pytest.approx(loss.item(), rel=1e-12)
    joined = [torch.cat(parts) for parts in zip(*(rank[1:] for rank in got))]
    assert relative_error(joined, grads) < 1e-12


@pytest.mark.slow
def test_ranks_of_different_shape_are_told(ranks):
    assert all("on all ranks" in rank["message"] for rank in ranks)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    one_rank(int(sys.argv[1]), sys.argv[2])
