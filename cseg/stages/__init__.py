"""The stages of the experiment, one module per rule."""
