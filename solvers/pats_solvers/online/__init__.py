"""Online policies: one small file each, with the rule and its source in the docstring."""
