"""Solving of instances at a latency price or within a latency budget, with checked results."""
