"""Settings every test shares."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # xdist runs one process per core
