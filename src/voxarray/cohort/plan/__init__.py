"""What will be done for each image of a cohort, and what was asked for."""
