"""New processes of a script that has no `if __name__ == "__main__"`, as adapters have none."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def main_not_imported_again() -> Iterator[None]:
    """Start processes in the block without their importing the main module, which would run it.

    Processes that are not forked (spawn, forkserver) import the main module first. A script of
    the workflow would begin its stage once more in each of them.
    """
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path
