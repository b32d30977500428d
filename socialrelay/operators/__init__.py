"""What operators see and do, whichever surface they use."""
