"""Lower bounds by pricing GPU time: a dynamic program per adapter, and an ascent on prices."""
