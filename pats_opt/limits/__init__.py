"""Limits of online policies: the online optimum of a recipe, between the offline one and them."""
