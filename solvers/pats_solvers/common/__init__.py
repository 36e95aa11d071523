"""Parts that several solvers share: compiled kernels, bounds, the best schedule so far."""
