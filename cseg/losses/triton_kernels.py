"""Fused CUDA backend: similarities live in registers only, and no sum uses atomics.

Every program owns a block of rows and walks over all others, so results have one fixed order of
addition. Runs on a CPU under TRITON_INTERPRET=1.
"""

from cseg.losses.triton_paper import candidate_grads
from cseg.losses.triton_released import pixel_grads

__all__ = ["candidate_grads", "pixel_grads"]
