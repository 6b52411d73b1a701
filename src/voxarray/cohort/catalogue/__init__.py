"""What came of it: journal, rows, report."""
