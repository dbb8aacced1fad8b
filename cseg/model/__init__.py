"""Segmentation networks: built from settings, and back from checkpoints."""

from cseg.model.load import LoadedSegmenter, load_segmenter

__all__ = ["LoadedSegmenter", "load_segmenter"]
