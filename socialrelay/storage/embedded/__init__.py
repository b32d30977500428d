"""The servers that the daemon brings along: PostgreSQL and Valkey, for those who have none."""

from socialrelay.storage.embedded.account import OWN_USER, Account, EmbeddedError
from socialrelay.storage.embedded.check import check
from socialrelay.storage.embedded.postgres import EmbeddedPostgres
from socialrelay.storage.embedded.runtime import existing_runtime_directory, remove_if_empty, runtime_directory
from socialrelay.storage.embedded.valkey import EmbeddedValkey

__all__ = [
    "OWN_USER",
    "Account",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "check",
    "existing_runtime_directory",
    "remove_if_empty",
    "runtime_directory",
]
