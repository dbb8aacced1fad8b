"""`python -m cseg`."""

import sys

from cseg.cli import main

sys.exit(main())
