"""The published rules that ask more than an operation's type: types, lengths, kernels, where it stands."""

from collections.abc import Iterator

from edgewright.benchmarks.neural_engine.table import Eligibility
from edgewright.runtimes.read.mil_blocks import Operation, Program, Value

Hit = tuple[Eligibility, str, str]
"""(verdict, reason, short name of the source)"""

SAFE_LENGTH, MOST_LENGTH = 16_384, 65_536
SAFE_KERNEL, MOST_KERNEL = 13, 32
MOST_WINDOW = 31
TILE_FACTORS = {1, 2, 3, 4, 8}
INDEX_RESULTS = ("reduce_argmax", "reduce_argmin")  # they give int32 and are native with it


def hits(operation: Operation, around: tuple[str, ...], program: Program) -> Iterator[Hit]:
    """Every rule that speaks against the operation."""
    computed = [program.values[name] for name in operation.reads if name not in program.constants]
    if around:
        yield Eligibility.NOT, f"stands inside a {around[-1]}", "loops"
    yield from _dtypes(operation, computed)
    yield from _shapes([*computed, *operation.outputs])
    yield from _kernels(operation, program)
    yield from _modes(operation)


def _dtypes(operation: Operation, computed: list[Value]) -> Iterator[Hit]:
    results = () if operation.type in INDEX_RESULTS else operation.outputs
    dtypes = {value.dtype for value in (*computed, *results)}
    if operation.type != "cast" and dtypes & {"float32", "float64"}:
        yield Eligibility.NOT, "computes float32; what is typed float32 takes the CPU or the GPU", "typed"
    if dtypes & {"int32", "int64", "uint32"}:
        yield Eligibility.NOT, "computes 32-bit integers, which it has not", "integers"


def _shapes(values: list[Value]) -> Iterator[Hit]:
    longest = max((length or 1 for value in values for length in value.shape), default=0)
    if longest > MOST_LENGTH:
        yield Eligibility.NOT, f"an axis of {longest:,}; {MOST_LENGTH:,} at most", "capabilities"
    elif longest > SAFE_LENGTH:
        yield (
            Eligibility.UNKNOWN,
            f"an axis of {longest:,}; {SAFE_LENGTH:,} at most before the A16 family",
            "capabilities",
        )
    if any(None in value.shape for value in values):
        yield Eligibility.UNKNOWN, "a length is not fixed: of a range only the default shape is taken", "flexible"


def _kernels(operation: Operation, program: Program) -> Iterator[Hit]:
    if operation.type in ("conv", "conv_transpose"):
        [weight] = operation.inputs["weight"]
        kernel = program.values[weight].shape[2:]
        widest = max(length or 1 for length in kernel)
        if widest > MOST_KERNEL:
            yield Eligibility.NOT, f"kernel of {widest}; one of 400 is seen on the CPU alone", "spectrogram"
        elif widest > SAFE_KERNEL:
            yield Eligibility.UNKNOWN, f"kernel of {widest}; {SAFE_KERNEL} at most on M1", "capabilities"
        if len(kernel) > 2:
            yield Eligibility.UNKNOWN, "convolution over 3 axes: sources disagree", "guide"
        if weight not in program.constants:
            yield Eligibility.UNKNOWN, "computed weights: at batch 1 alone", "capabilities"
    if operation.type.endswith("_pool"):
        window = max((int(length) for length in _numbers(operation, "kernel_sizes")), default=1)
        if window > MOST_WINDOW:
            yield Eligibility.NOT, f"window of {window}; {MOST_WINDOW} at most", "catalogue"
        elif window > SAFE_KERNEL:
            yield Eligibility.UNKNOWN, f"window of {window}; above {SAFE_KERNEL} was seen to leave it", "observed"


def _modes(operation: Operation) -> Iterator[Hit]:
    if operation.type == "pad" and operation.parameters.get("mode", "constant") != "constant":
        yield Eligibility.UNKNOWN, f"padding by {operation.parameters['mode']}: from M2 on", "catalogue"
    if operation.type == "tile" and set(_numbers(operation, "reps")) - TILE_FACTORS:
        yield Eligibility.UNKNOWN, "repeats by other than 2, 3, 4 and 8", "catalogue"
    if operation.type == "slice_by_index" and not {"begin", "end"} <= set(operation.parameters):
        yield Eligibility.UNKNOWN, "offsets are computed", "catalogue"


def _numbers(operation: Operation, parameter: str) -> tuple[float, ...]:
    found = operation.parameters.get(parameter, ())
    return () if isinstance(found, str) else found
