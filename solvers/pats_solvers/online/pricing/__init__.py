"""Compiled parts of ``price-index``: what a batch costs at a price of GPU time, and playing on."""
