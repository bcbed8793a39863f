"""``python -m bluesky_ext`` is the command ``bluesky-ext``."""

from bluesky_ext.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
