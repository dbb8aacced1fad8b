"""The training loop, its schedule and its saved state."""
