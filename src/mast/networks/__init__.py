"""Networks: every weight matrix is one `mast.networks.linear.Linear`."""
