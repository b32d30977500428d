"""The whole relay in one file: for backups, and for moving from one PostgreSQL to another."""
