"""The loss on the features of a torchvision network, next to its cross-entropy.

    python examples/torchvision_features.py [steps]

The backbone's features go through a projection head, which only the contrastive loss uses. The
temperature is a parameter and learns, too.
"""

import sys

import torch
import torch.nn.functional as F
from plain_loop import painted
from torch import nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from cseg.losses import PixelContrastLoss

if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.manual_seed(0)
    gen = torch.Generator().manual_seed(0)
    # weights_backbone="DEFAULT" starts from ImageNet, and downloads the weights.
    network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    head = nn.Sequential(nn.Conv2d(960, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1))
    contrast = PixelContrastLoss(
        grid=(8, 8), scope="batch", temperature=nn.Parameter(torch.tensor(0.1)), ignore_index=255
    )
    parameters = [p for module in (network, head, contrast) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for step in range(steps):
        images, labels = painted(4, 64, gen)
        feats = network.backbone(images)["out"]  # (B, 960, 8, 8)
        logits = F.interpolate(network.classifier(feats), labels.shape[1:], mode="bilinear")
        classification = F.cross_entropy(logits, labels, ignore_index=255)
        loss = classification + 0.1 * contrast(head(feats), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (0, steps - 1):
            print(f"step {step + 1}: loss {loss.item():.4f}")
    print(f"temperature {contrast.temperature.item():.4f}")
