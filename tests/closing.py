"""How suites that unittest runs end: as trial's do, so that whoever counts reads one kind of line."""

from __future__ import annotations

from unittest import TestResult


def closing(result: TestResult) -> str:
    """How trial would end."""
    # A part of a test (subTest) that fails counts as a failure of its own.
    broken = {getattr(test, "test_case", test).id() for test, _ in (*result.failures, *result.errors)}
    counts = {
        "skips": len(result.skipped),
        "failures": len(result.failures),
        "errors": len(result.errors),
        "unexpectedSuccesses": len(result.unexpectedSuccesses),
        "successes": result.testsRun - len(broken) - len(result.skipped) - len(result.expectedFailures),
    }
    said = ", ".join(f"{name}={count}" for name, count in counts.items() if count)
    return f"{'PASSED' if result.wasSuccessful() else 'FAILED'}{f' ({said})' if said else ''}"
