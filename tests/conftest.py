"""Settings every test shares, made before anything is imported."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # xdist runs one process per core
if not Path("/proc/driver/nvidia").exists():
    # triton reads this once, when it is first imported, and torch may import it in any test
    os.environ.setdefault("TRITON_INTERPRET", "1")
