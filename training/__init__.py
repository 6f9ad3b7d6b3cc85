"""Training: the record of interactions and corrections, and the runs that turn it into adapter versions."""
