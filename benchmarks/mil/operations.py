"""Which of coremltools' operations the evaluator knows, as a page of the documentation."""

import logging
from collections.abc import Iterator
from importlib.metadata import version

from edgewright.runtimes.mil.operators import operations
from edgewright.runtimes.mil.program import BLOCKS, STATES

INTERNAL = {"const", "_const_symbolic"}
WHY = {
    "conv_quantized": "no converter writes it into an ML program",
    "random": "gives other numbers on every device",
    "list": "lists are not evaluated",
    "make_list": "lists are not evaluated",
}
HEAD = """# Core ML on any system: the evaluator of ML programs

`edgewright.runtimes.mil` runs an `.mlpackage` with torch and numpy: what each operation is defined to give, on the CPU,
every result rounded to float16 where the program declares it so. It is not the Neural Engine, nor Apple's CPU or GPU
kernels: how those round inside an operation only a device tells. It gives answers, never times.

Written by `python -m edgewright.benchmarks.mil` against coremltools {version}: {known} of its {all} operations.

| operation | from | evaluated |
|---|---|---|
"""


def page() -> str:
    """The document, deterministic for one version of coremltools."""
    found = list(rows())
    known = sum(answer == "yes" for _, _, answer in found)
    head = HEAD.format(version=version("coremltools"), known=known, all=len(found))
    return head + "".join(f"| `{name}` | {first} | {answer} |\n" for name, first, answer in found)


def rows() -> Iterator[tuple[str, str, str]]:
    """(operation, first target, "yes" or why not), by name."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools  # type: ignore[import-untyped] # noqa: F401
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry  # type: ignore[import-untyped]

    run, decode = operations()
    known = {*run, *decode, *BLOCKS, *STATES}
    for name, versions in sorted(SSAOpRegistry.core_ops.items()):
        if name not in INTERNAL:
            first = max(min(versions).name, "iOS15")
            yield name, first, "yes" if name in known else f"no: {WHY.get(name) or WHY[name.split('_')[0]]}"
