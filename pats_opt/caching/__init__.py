"""Approximate caching: embedders of prompts, exact nearest-prompt search, levels, evictions.

A cache keeps latents of earlier prompts after K denoising steps, for each K of its *levels*. A
request whose prompt is similar enough to a cached one starts from its latents and skips K steps:
the more similar, the more. The rules are those of NIRVANA, which the prompt-aware document compares
with. :class:`~pats_opt.caching.cache.PromptCache` decides; it holds no latents itself.
"""
