"""The way to a Mac and back: packages with the answers that are expected, a script, and what it found there."""
