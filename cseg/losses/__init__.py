"""The pixel contrastive loss, exact over all pixels and lean in memory.

Usable on its own: needs torch only (and triton where a CUDA kernel runs).
"""

from cseg.losses.checks import LossInputError
from cseg.losses.module import PixelContrastLoss
from cseg.losses.pixel_contrast import pixel_contrast_loss

__all__ = ["LossInputError", "PixelContrastLoss", "pixel_contrast_loss"]
