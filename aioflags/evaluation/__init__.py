"""Evaluation: definitions are compiled to functions, and functions return answers. No input or output, no clock, no event loop."""
