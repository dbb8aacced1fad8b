"""The loss in a plain PyTorch loop: a small network learns features of painted images.

    python examples/plain_loop.py [steps]

Needs torch and cseg.losses only. Replace `painted` by your own loader.
"""

import sys

import torch
from torch import Tensor, nn

from cseg.losses import PixelContrastLoss


def painted(count: int, size: int, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images (count,3,size,size) of coloured rectangles, and labels; 255 is ignored."""
    labels = torch.zeros(count, size, size, dtype=torch.int64)
    for image in labels:
        for number in (1, 2, 3):
            top, left = torch.randint(0, size // 2, (2,), generator=gen).tolist()
            image[top : top + size // 2, left : left + size // 3] = number
    colours = torch.tensor([[0.2, 0.2, 0.2], [0.8, 0.3, 0.2], [0.3, 0.8, 0.2], [0.2, 0.3, 0.8]])
    images = colours[labels].movedim(3, 1) + 0.2 * torch.randn(count, 3, size, size, generator=gen)
    labels[:, :2] = 255  # nobody has labelled the upper edge
    return images, labels


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    torch.manual_seed(0)
    gen = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)
    )
    contrast = PixelContrastLoss(grid=12, scope="cross", temperature=0.1, ignore_index=255)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    for step in range(steps):
        images, labels = painted(8, 48, gen)
        brightness = 0.8 + 0.4 * torch.rand(8, 1, 1, 1, generator=gen)
        # The second view shows the same pixels in other colours.
        loss = contrast(network(images), labels, network(images * brightness))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (0, steps - 1):
            print(f"step {step + 1}: loss {loss.item():.4f}")
