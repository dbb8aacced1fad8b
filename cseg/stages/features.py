"""Stage `features`: how classes lie in feature space where fine-tuning starts, arm by arm.

The decoder's features of the same pixels of the same validation images, for every network that
fine-tuning starts from: pretrained ones, and the fresh ones of arms without pretraining. Features
are scaled to unit length, since the contrastive loss compares directions.

Per network, with u the unit features of the pixels drawn and m_k the mean of those of class k,
scaled to unit length:

    intra_class = mean over classes of the mean over the class's pixels of 1 - u . m_k
    inter_class = mean over pairs of classes of 1 - m_k . m_l
    ratio       = inter_class / intra_class

Batch-norm statistics are estimated on these images for every network, without their labels: a
network that has never been trained has none. Shapes: B images, P pixels, C channels, H, W.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cseg.compute.device import open_device
from cseg.datasets.samples import IGNORE, DatasetInfo, load_info
from cseg.errors import DataError
from cseg.images.transforms import random_crop, resize_label, to_unit
from cseg.model.network import Segmenter
from cseg.settings.network import ImageSettings
from cseg.settings.run import RunSettings
from cseg.stages.run import RunInputs, labelled_pairs, start_network, validation_pairs
from cseg.storage.tables import write_table
from cseg.training.sampling import load_pair

IMAGES = 16  # validation images, evenly spaced in the index
PIXELS = 600  # drawn from them, shared equally among the classes seen
BATCH = 8
PERPLEXITY = 30.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the fine-tuning of one run starts."""

    arm: str
    inputs: RunInputs  # with the subset, which says n, and the pretrained weights, if any
    settings: RunSettings


@dataclass(frozen=True, kw_only=True)
class FeaturesOutputs:
    """Files that the stage writes."""

    features: Path  # dataset, arm, n, seed, image_id, class_id, x, y, method (pca, tsne)
    # dataset, arm, n, seed, intra_class, inter_class, ratio; the last three are empty if the images
    # show fewer classes than they need
    separability: Path


@dataclass(frozen=True)
class Pixels:
    """The pixels that every network is asked about."""

    images_B3HW: Tensor  # uint8 crops
    places_P: np.ndarray  # flat index of each pixel into the (B, H', W') grid of the features
    classes_P: np.ndarray  # its class
    ids_P: list[str]  # its image's id


def features(starts: Sequence[Start], *, out: FeaturesOutputs, threads: int) -> None:
    """Measure every run's start; project the features of those at the smallest n and first seed.

    Raises:
        DataError: no validation image, or none that shows a class.
    """
    data = starts[0].inputs
    info = load_info(data.dataset)
    counts = [len(labelled_pairs(start.inputs)[0]) for start in starts]
    first = min((n, start.settings.seed) for start, n in zip(starts, counts))
    shared = starts[0].settings
    device = open_device(shared.device, threads, deterministic=shared.deterministic)
    pixels: Pixels | None = None
    measured: dict[object, np.ndarray] = {}  # arms that start alike are measured once
    projected: dict[object, dict[str, np.ndarray]] = {}
    rows, tables = [], []
    for start, n in zip(starts, counts):
        run, pretrained = start.settings, start.inputs.pretrained
        key = {"dataset": info.name, "arm": start.arm, "n": n, "seed": run.seed}
        same = (pretrained, None if pretrained else run.init, run.seed)
        if same not in measured:
            network = start_network(run, info.num_classes, pretrained=pretrained).to(device)
            pixels = pixels or draw_pixels(data.index, info, run.image, network, device)
            measured[same] = unit_features(network, pixels, device)
        assert pixels is not None  # drawn with the first network, whose grid all share
        rows.append({**key, **separability(measured[same], pixels.classes_P)})
        if (n, run.seed) == first:
            if same not in projected:
                projected[same] = project(measured[same])
            for method, xy_P2 in projected[same].items():
                x, y = xy_P2.round(5).T
                points = {"image_id": pixels.ids_P, "class_id": pixels.classes_P, "x": x, "y": y}
                tables.append(pd.DataFrame({**key, **points, "method": method}))
    write_table(out.separability, pd.DataFrame(rows))
    write_table(out.features, pd.concat(tables, ignore_index=True))


def draw_pixels(
    index_csv: Path,
    info: DatasetInfo,
    image: ImageSettings,
    network: Segmenter,
    device: torch.device,
) -> Pixels:
    """Choose images and pixels, the same for the same index: evenly spaced, classes balanced.

    Images are cut to the training crop without scaling, so that they fit into batches.
    """
    pairs = validation_pairs(index_csv)
    if not pairs:
        raise DataError(f"{index_csv} holds no validation image; features need some")
    chosen = np.unique(np.linspace(0, len(pairs) - 1, IMAGES).round().astype(int))
    pairs = [pairs[i] for i in chosen]
    pairs = pairs * 2 if len(pairs) == 1 else pairs  # batch norm needs two
    plain = replace(image, scale=(1.0, 1.0), flip=False)
    crops = [
        random_crop(*load_pair(pair, info, image.short_side), plain, np.random.default_rng(i))
        for i, pair in enumerate(pairs)
    ]
    images = torch.stack([picture for picture, _ in crops])
    with torch.no_grad():
        height, width = network.eval().features(to_unit(images[:1].to(device))).shape[-2:]
    labels_BHW = torch.stack([resize_label(label, (height, width)) for _, label in crops]).numpy()
    flat = labels_BHW.ravel()
    seen = [c for c in np.unique(flat) if c != IGNORE]
    if not seen:
        raise DataError(f"the validation images of {index_csv} show no class; check their labels")
    rng = np.random.default_rng(0)
    drawn = [
        np.sort(rng.permutation(np.flatnonzero(flat == c))[: max(2, PIXELS // len(seen))])
        for c in seen
    ]
    places = np.concatenate(drawn)
    return Pixels(
        images, places, flat[places].astype(int), [pairs[i // (height * width)].id for i in places]
    )


@torch.no_grad()
def unit_features(network: Segmenter, pixels: Pixels, device: torch.device) -> np.ndarray:
    """Decoder features of the pixels drawn, float64 (P, C), each of unit length."""
    parts = -(-len(pixels.images_B3HW) // BATCH)
    batches = [to_unit(part.to(device)) for part in pixels.images_B3HW.tensor_split(parts)]
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for number, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / number  # mean over the batches; None would wait for the device
        network.features(batch)
    network.eval()
    maps_BCHW = torch.cat([network.features(batch) for batch in batches])
    rows = maps_BCHW.permute(0, 2, 3, 1).flatten(0, 2)[torch.from_numpy(pixels.places_P).to(device)]
    return nn.functional.normalize(rows.double(), dim=1).cpu().numpy()


def separability(units_PC: np.ndarray, classes_P: np.ndarray) -> dict[str, float]:
    """Compactness and distance of classes as cosine distances; see the module's definition."""
    inside, centres = [], []
    for c in np.unique(classes_P):
        members = units_PC[classes_P == c]
        centre = members.mean(axis=0)
        centre /= max(np.linalg.norm(centre), 1e-12)
        inside.append(float(np.mean(1 - members @ centre)))
        centres.append(centre)
    between = [1 - a @ b for a, b in combinations(centres, 2)]
    intra = float(np.mean(inside))
    inter = float(np.mean(between)) if between else float("nan")
    ratio = inter / intra if intra > 0 else float("nan")
    return {"intra_class": intra, "inter_class": inter, "ratio": ratio}


def project(units_PC: np.ndarray) -> dict[str, np.ndarray]:
    """Two coordinates for each pixel, (P, 2), by method: pca and tsne (exact same bytes again).

    t-SNE (van der Maaten 2008; Barnes-Hut) begins at the principal components.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    pca = principal_components(units_PC)
    start = pca / max(float(pca[:, 0].std()), 1e-12) * 1e-4
    perplexity = max(min(PERPLEXITY, (len(units_PC) - 1) / 3), 1e-3)
    with threadpool_limits(1):  # sums over threads would differ in their last digits
        method = TSNE(perplexity=perplexity, init=start, random_state=0, n_jobs=1)
        return {"pca": pca, "tsne": method.fit_transform(units_PC)}


def principal_components(rows_PC: np.ndarray) -> np.ndarray:
    """The first two principal components (P, 2); the largest entry of each axis is positive."""
    centred = rows_PC - rows_PC.mean(axis=0)
    left, size, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    signs[signs == 0] = 1
    xy = (left * size * signs)[:, :2]
    return np.pad(xy, [(0, 0), (0, 2 - xy.shape[1])])
