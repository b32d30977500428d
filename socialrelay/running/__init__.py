"""The daemon as a process: started, seen to fail, logged, stopped."""
