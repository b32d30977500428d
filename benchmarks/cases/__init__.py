"""What is measured: each module has a function of its name that takes the bed and returns its figures."""
