"""ONNX files: read them with distrust, write them with their contract and the same bytes each time."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import BadModel, WriteFailed
from edgewright.export.onnx.wire import SMALL_BYTES, split_model, write_model
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

LIMIT_BYTES = 2**31 - 1  # of one protobuf message


def load_onnx(path: Path) -> "ir.Model":
    """Read an ONNX file. External data is read from the model's own folder only.

    Raises BadModel: absent, corrupt or invalid file; external data elsewhere; weights that are not finite.
    """
    from onnx_ir.passes.common import CheckerPass

    try:
        proto, weights = _parsed(path)
    except FileNotFoundError:
        raise BadModel(f"{path}: no such file") from None
    except Exception as error:  # protobuf and the OS each raise their own
        raise BadModel(f"{path}: not readable as ONNX ({error}); export it again") from error
    if not proto.graph.node:
        raise BadModel(f"{path}: holds no graph; is it an ONNX file?")
    names = Counter(tensor.name for tensor in proto.graph.initializer)
    if twice := [name for name, count in names.items() if count > 1]:
        raise BadModel(f"{path}: not a valid ONNX model: more than one initializer is called {', '.join(twice)}")
    _read_external(proto, path)
    try:
        model = _joined(proto, weights)
        CheckerPass()(model)  # it looks at the shapes alone of what is large
    except Exception as error:
        raise BadModel(f"{path}: not a valid ONNX model: {error}") from error
    check_finite(model, str(path))
    return model


def reopen(path: Path) -> "ir.Model":
    """A file that was checked when it was made. Its external data is left where it is."""
    import onnx_ir as ir

    model = _joined(*_parsed(path))
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def _parsed(path: Path) -> "tuple[onnx.ModelProto, Mapping[str, ir.TensorProtocol]]":
    import onnx

    shell, weights = split_model(path.read_bytes())
    return onnx.load_model_from_string(shell), weights


def _joined(proto: "onnx.ModelProto", weights: "Mapping[str, ir.TensorProtocol]") -> "ir.Model":
    import onnx_ir as ir

    model = ir.from_proto(proto)
    for name, tensor in weights.items():
        model.graph.initializers[name].const_value = tensor
    return model


def save_model(model: "ir.Model", contract: Contract, out: Path) -> None:
    """Write the model with its contract as one file; the same model gives the same bytes.

    Raises BadModel above 2 GiB, WriteFailed when the file cannot be written (nothing is left then).
    """
    model.metadata_props[CONTRACT_KEY] = contract.to_json()
    model.producer_name, model.producer_version = "edgewright", None
    proto, weights = _without_weights(model)
    size_bytes = proto.ByteSize() + sum(tensor.nbytes for tensor in weights.values())
    if size_bytes > LIMIT_BYTES:
        raise BadModel(f"{out.name}: {size_bytes / 2**30:.1f} GiB; one ONNX file holds at most 2 GiB")
    try:
        with out.open("wb") as file:
            write_model(proto, weights, file)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise WriteFailed(
            f"{out}: cannot write ({error.strerror}); free some space or choose another folder"
        ) from error


def forget_weights(model: "ir.Model") -> None:
    """Of a model that is done. The rewrite rules of onnxscript remember the last graph that they saw."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            value.const_value = None


def _without_weights(model: "ir.Model") -> "tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]":
    """The model with large initializers as shells, and these."""
    import onnx_ir as ir

    held = ((value, value.const_value) for value in model.graph.initializers.values())
    large = {
        value: tensor
        for value, tensor in held
        if tensor is not None and tensor.nbytes > SMALL_BYTES and not tensor.dtype.is_string()
    }
    for value in large:
        value.const_value = ir.Tensor(np.empty(0, np.uint8), name=value.name)
    try:
        proto = ir.to_proto(model)
    finally:
        for value, tensor in large.items():
            value.const_value = tensor
    weights = {str(value.name): tensor for value, tensor in large.items()}
    for shell in proto.graph.initializer:
        if shell.name in weights:
            shell.ClearField("raw_data")
            shell.data_type, shell.dims[:] = weights[shell.name].dtype.value, weights[shell.name].shape.numpy()
    return proto, weights


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
