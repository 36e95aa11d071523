"""What online policies share: queues, batches under construction, evictions, bounds on waiting."""
