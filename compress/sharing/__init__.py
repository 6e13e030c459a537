"""Weight sharing: which tensors get a table, what weighs in it, and how its values are trained."""
