"""A tree with every kind of value."""

import numpy as np

VALUES = {
    "ints": np.arange(6, dtype="i8").reshape(2, 3),
    "big-endian": np.arange(3, dtype=">u2"),
    "bytes": np.array([b"ab", b"c"], "S4"),
    "floats": np.array([1.0, np.nan, np.inf]),
    "half": np.arange(3, dtype="f2"),
    "flags": np.array([True, False]),
    "scalar": np.float64(3.5),
    "yes": np.True_,
    "nothing": np.zeros((0, 4)),
    "of Fortran": np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3)),
    "a part": np.arange(100, dtype="f4").reshape(10, 10)[1::3, ::-2],
}
# What is shown, and the text that is read.
TEXTS = {
    "word": ("Wörld", "Wörld"),
    "words": (["a", "bb"], ["a", "bb"]),
    "table": (np.array([["a", "b"], ["c", "dd"]]), [["a", "b"], ["c", "dd"]]),
    "when": (np.array(["2026-01-02"], "M8[D]"), ["2026-01-02"]),
    "ragged": ([[1], [1, 2]], "[[1], [1, 2]]"),
    "objects": (np.array([{"a": 1}, None], object), ["{'a': 1}", "None"]),
    "broken": (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
}
# What is shown, and the numbers that are read.
NUMBERS = {"gaps": ([1, None, 2.5], [1.0, np.nan, 2.5]), "too large": (10**30, 1e30)}
EVERY = {
    "_attrs": {"default": "values", "title": "Wörld"},
    "values": {**VALUES, "ints_attrs": {"long_name": "µm", "flag": True, "numbers": [0.5, 1.5]}},
    "texts": {name: shown for name, (shown, _) in TEXTS.items()},
    "numbers": {name: shown for name, (shown, _) in NUMBERS.items()},
    "none": None,
    "complex": np.array([1 + 2j, 3]),
    "records": np.array([(0.5, 1, "é"), (1.5, 2, "bb")], [("a", "f8"), ("b", "i4"), ("text", object)]),
    "map": {"massfractions": {"W L": np.zeros((2, 3))}},
}
