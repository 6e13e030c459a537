"""One converter a module, run by the interpreter of the environment that has it: `python -m …drivers.NAME`.

A driver imports the standard library, numpy and its own converter. Ours drives the product by the names of its modules,
as it drives a peer's: from outside.
"""
