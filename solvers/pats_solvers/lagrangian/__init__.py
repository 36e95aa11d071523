"""Bounds by pricing GPU time: one dynamic program an adapter."""
