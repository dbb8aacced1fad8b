"""What a trained network predicts, and how good that is."""

from cseg.inference.load import LoadedSegmenter, load_segmenter

__all__ = ["LoadedSegmenter", "load_segmenter"]
