"""Where a kernel runs: at once, on any `concurrent.futures.Executor`, or in lanes that keep its state."""
