"""What a run is: the runs that are open, what was lost of them, and derived runs."""
