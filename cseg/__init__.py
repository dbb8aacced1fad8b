"""Pixel-wise, label-based contrastive pretraining for label-efficient semantic segmentation."""

__version__ = "0.1.0"
