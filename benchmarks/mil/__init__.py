"""Proof of the evaluator of ML programs by things that this project did not write, and the table of what it knows."""
