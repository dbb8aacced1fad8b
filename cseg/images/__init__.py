"""Images as training sees them."""
