"""Graph passes, one a file: each changes the model in place and returns how many changes it made."""
