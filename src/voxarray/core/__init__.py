"""What every package may use: errors, settings, memory, progress, and values that know no image."""
