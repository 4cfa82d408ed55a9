"""Forms of training and builds beside each other, run by run."""
