"""Files, and what they are known by."""
