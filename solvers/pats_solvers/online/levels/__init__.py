"""Parts of the policies that serve at several levels of approximate caching: prompt-aware fleets.

A level is a number K of denoising steps left out (``options[].skip``), the deeper the faster and
the worse. Each GPU has a level and a queue; a controller allocates GPUs to levels.
"""
