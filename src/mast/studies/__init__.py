"""Studies: the paper's tables and figures as cells to run, results to share, statistics and a report."""
