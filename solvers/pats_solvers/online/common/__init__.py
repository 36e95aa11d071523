"""Parts that online policies share: queues, batches, evictions, bounds on waiting."""
