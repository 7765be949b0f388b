"""The report of a study: tables, figures, and one html file that needs nothing else. Imports no JAX."""
