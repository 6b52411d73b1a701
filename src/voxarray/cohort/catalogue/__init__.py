"""What came of it: journal, rows, the files of the report."""
