"""The points of scans: what was measured at each, what was made of it, and which pixel of a map it is."""
