"""What belongs to a cohort: files found in folders, BIDS data sets and tables."""
