"""Documents, rules and check: what PROBLEM.md states, each rule in one place."""
