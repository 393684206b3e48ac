"""Which trials are stopped before their last epoch."""
