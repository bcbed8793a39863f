"""How fast, as ratios measured in one process run; ``python -m benchmarks``."""
