"""Dispatch: requests are bound to GPUs on arrival, and each GPU's policy sees only its own."""
