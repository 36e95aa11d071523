"""Runs of solvers: their folder, their worker processes, and the record of each."""
