"""Part of placevec."""
