"""Interfaces of solvers and online policies, and the registry of all of them."""
