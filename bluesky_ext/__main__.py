"""``python -m bluesky_ext`` is the command ``bluesky-ext``."""

from bluesky_ext.cli import program

if __name__ == "__main__":
    program()
