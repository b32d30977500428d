"""
What the relay costs, and what it gives: measured side by side with what one would otherwise take.

C{python -m benchmarks} prints it; C{docs/performance.md} reads it.
"""
