"""Problem in, checked schedule out, at a latency price or within a latency budget."""
