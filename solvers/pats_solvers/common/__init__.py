"""What several solvers share: compiled kernels, bounds, and the best schedule so far."""
