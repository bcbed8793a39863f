"""``python -m benchmarks.day``: the whole day, or a shorter one."""

from benchmarks.day import program

if __name__ == "__main__":
    raise SystemExit(program())
