"""Into and out of torch."""
