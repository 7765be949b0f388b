"""The rules of units that SMAX lacks, one function each, and the battles in which they fight."""
