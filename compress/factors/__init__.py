"""Layers as products of smaller ones: which can be replaced, by what, at which rank, for which cost."""
