"""Online policies; each one's docstring has its rule and its source."""
