"""Names of tensors in a MIL program."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir


class Names:
    """MIL names are identifiers: `renamed` maps each name that had to change to the name in the graph."""

    def __init__(self, graph: "ir.Graph") -> None:
        from coremltools.converters.mil.mil.passes.defs.preprocess import NameSanitizer  # type: ignore[import-untyped]

        self.renamed: dict[str, str] = {}
        self.taken = {str(value.name) for node in graph for value in node.outputs} | {str(v.name) for v in graph.inputs}
        self._sanitizer = NameSanitizer()
        self._sanitizer.all_names.update(self.taken)

    def of(self, name: str) -> str:
        """The MIL name of a tensor; ask once per tensor."""
        legal = str(self._sanitizer.sanitize_name(name))
        if legal != name:
            self.renamed[legal] = name
            self.taken.add(legal)
        return legal

    def free(self, name: str) -> str:
        """A name that no tensor of the graph has."""
        while name in self.taken:
            name += "_mil"
        return name


def operations_in(block: Any) -> Iterator[Any]:
    """Those of a block, with those of the blocks inside."""
    for operation in block.operations:
        for inside in operation.blocks:
            yield from operations_in(inside)
        yield operation
