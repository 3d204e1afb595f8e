"""Moving bytes between channels."""
