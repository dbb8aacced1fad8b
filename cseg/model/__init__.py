"""Segmentation networks: built from settings; weights; checkpoints."""
