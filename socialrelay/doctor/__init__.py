"""Looks at everything that a relay depends on, and says what is wrong and what to do. It changes nothing."""
