"""ONNX files: read them with distrust, write them with their contract and the same bytes each time."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import BadModel, WriteFailed
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

LIMIT_BYTES = 2**31 - 2**20  # one protobuf message has less than 2 GiB, and the graph needs room too


def load_onnx(path: Path) -> "ir.Model":
    """Read an ONNX file. External data is read from the model's own folder only.

    Raises BadModel: absent, corrupt or invalid file; external data elsewhere; weights that are not finite.
    """
    import onnx
    import onnx_ir as ir
    from onnx_ir.passes.common import CheckerPass

    try:
        proto = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise BadModel(f"{path}: no such file") from None
    except Exception as error:  # protobuf and the OS each raise their own
        raise BadModel(f"{path}: not readable as ONNX ({error}); export it again") from error
    if not proto.graph.node:
        raise BadModel(f"{path}: holds no graph; is it an ONNX file?")
    _read_external(proto, path)
    try:
        model = ir.from_proto(proto)
        CheckerPass()(model)  # which looks at weights by their shapes alone
        own_weights(model)
    except Exception as error:
        raise BadModel(f"{path}: not a valid ONNX model: {error}") from error
    check_finite(model, str(path))
    return model


def save_model(model: "ir.Model", contract: Contract, out: Path) -> None:
    """Write the model with its contract as one file; the same model gives the same bytes.

    Raises BadModel above 2 GiB, WriteFailed when the file cannot be written (nothing is left then).
    """
    import onnx_ir as ir

    model.metadata_props[CONTRACT_KEY] = contract.to_json()
    model.producer_name, model.producer_version = "edgewright", None
    weight_bytes = sum(tensor.nbytes for tensor in _constants(model))
    if weight_bytes > LIMIT_BYTES:
        raise BadModel(f"{out.name}: {weight_bytes / 2**30:.1f} GiB of weights; one ONNX file holds at most 2 GiB")
    content = ir.to_proto(model).SerializeToString(deterministic=True)
    try:
        out.write_bytes(content)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise WriteFailed(
            f"{out}: cannot write ({error.strerror}); free some space or choose another folder"
        ) from error


def own_weights(model: "ir.Model") -> None:
    """Weights become arrays of their own. One in the parsed file would be copied at each read, and would keep the
    whole file in memory."""
    import onnx_ir as ir

    def own(tensor: "ir.TensorProtocol") -> "ir.TensorProtocol":
        if not isinstance(tensor, ir.serde.TensorProtoTensor) or tensor.dtype.is_string():
            return tensor
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)

    for graph in model.graphs():
        for value in graph.initializers.values():
            value.const_value = None if value.const_value is None else own(value.const_value)
    for node in _all_nodes(model):
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                node.attributes[name] = ir.AttrTensor(name, own(attribute.as_tensor()))


def contract_of(model: "ir.Model") -> Contract:
    """The contract in the file's metadata; for a foreign model the one that its graph states."""
    text = model.metadata_props.get(CONTRACT_KEY)
    if text is not None:
        return Contract.from_json(text)
    return Contract(tuple(map(_info, model.graph.inputs)), tuple(map(_info, model.graph.outputs)))


def check_finite(model: "ir.Model", where: str) -> None:
    """Raises BadModel naming every weight that holds NaN or infinity.

    A lone infinity is a legal constant (a mask, an open bound): only tensors of more than one element are weights.
    """
    bad = [
        name
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.dtype.is_floating_point()
        and value.const_value.size > 1
        and not np.isfinite(value.const_value.numpy().astype(np.float32, copy=False)).all()
    ]
    if bad:
        raise BadModel(f"{where}: NaN or infinity in {len(bad)} weight(s): {', '.join(bad)}; train or export it again")


def _all_nodes(model: "ir.Model") -> Iterator["ir.Node"]:
    for graph in (model.graph, *model.functions.values()):
        yield from graph.all_nodes()


def _constants(model: "ir.Model") -> Iterator["ir.TensorProtocol"]:
    """Initializers, and the values of Constant nodes."""
    for graph in model.graphs():
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)
    for node in _all_nodes(model):
        yield from (each.as_tensor() for each in node.attributes.values() if each.type.name == "TENSOR")


def _info(value: "ir.Value") -> TensorInfo:
    shape = () if value.shape is None else tuple(n if isinstance(n, int) else None for n in value.shape)
    dtype = "float32" if value.dtype is None else np.dtype(value.dtype.numpy()).name
    return TensorInfo(str(value.name), shape, dtype)


def _read_external(proto: "onnx.ModelProto", path: Path) -> None:
    import onnx

    folder = path.parent.resolve()
    problems = []
    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            reason = _refusal(location, folder)
            if reason:
                problems.append(f"  {tensor.name}: {location!r} {reason}")
    if problems:
        raise BadModel(f"{path}: weights outside the model's own folder are not read:\n" + "\n".join(problems))
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except Exception as error:
        raise BadModel(f"{path}: external weights are not readable ({error})") from error


def _refusal(location: str, folder: Path) -> str | None:
    """Why a location of external data is not followed."""
    name = PurePosixPath(location)
    if not location or name.is_absolute() or PureWindowsPath(location).drive:
        return "is absolute or empty"
    if ".." in name.parts or "\\" in location:
        return "leaves the folder"
    target = folder / name
    if not target.resolve().is_relative_to(folder):
        return "is a link out of the folder"
    return None if target.is_file() else "is missing"


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _tensors(inner)
