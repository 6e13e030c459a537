"""How big a package is in each scheme, against what coremltools makes of the same weights with the same granularity."""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from edgewright.benchmarks.exporters.drivers.by_edgewright import route
from edgewright.benchmarks.exporters.files import Files, Network
from edgewright.benchmarks.quantization.table import Bar, Row, Table
from edgewright.devices.spec import Spec
from edgewright.runtimes.artifact import artifact_at, files_of
from edgewright.runtimes.read.mil_proto import load_spec

NETWORKS = ("student_128", "mobilenet_v2", "resnet18")
SMALLEST = 1024
"""Elements of a tensor that is compressed, on both sides."""

MOST = 1.0
Theirs = Callable[[Any], Any]
Choices = Mapping[str, Any]


@dataclass(frozen=True)
class Scheme:
    """`spec` and, by the name of a step, choices for our exporter; `theirs` compresses coremltools' float16 model."""

    spec: str
    target: str
    theirs: Theirs
    choices: Mapping[str, Choices] = field(default_factory=dict)


def quantized(dtype: str, granularity: str, mode: str = "linear_symmetric", **more: Any) -> Theirs:
    """coremltools' linear quantization, in blocks of 32 where it is by block."""
    import coremltools.optimize.coreml as cto  # type: ignore[import-untyped]

    config = cto.OpLinearQuantizerConfig(
        mode=mode, dtype=dtype, granularity=granularity, block_size=32, weight_threshold=SMALLEST - 1
    )
    return lambda model: cto.linear_quantize_weights(model, cto.OptimizationConfig(config), **more)


def palettized(bits: int, **more: Any) -> Theirs:
    """With evenly spaced tables, which take as many bytes as those of k-means, and seconds instead of an hour."""
    import coremltools.optimize.coreml as cto

    joint = {"joint_compression": True} if more.pop("joint", False) else {}
    config = cto.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=SMALLEST - 1, **more)
    return lambda model: cto.palettize_weights(model, cto.OptimizationConfig(config), **joint)


def halved() -> Theirs:
    """Half of each tensor's weights set to zero."""
    import coremltools.optimize.coreml as cto

    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=SMALLEST - 1)
    return lambda model: cto.prune_weights(model, cto.OptimizationConfig(config))


def schemes() -> dict[str, Scheme]:
    """By name; half of the weights of sparse ones are zero."""

    def palette(bits: int, target: str, theirs: Theirs, **choices: Any) -> Scheme:
        given = {"bits": bits, "depthwise_bits": bits, "smallest": SMALLEST, **choices}
        return Scheme("coreml:palettized", target, theirs, {"coreml-palettized": given})

    def sparse(target: str, theirs: Theirs, **choices: Any) -> Scheme:
        return Scheme("coreml:sparse", target, theirs, {"coreml-sparse": {"density": 0.5, **choices}})

    whole = {"int8-weights": {"depthwise": True, "smallest": SMALLEST}}
    blocks = {"int8-weights": {"block_size": 32, "across_kernel": True, **whole["int8-weights"]}}
    int4 = {"block_size": 32, "across_kernel": True, "smallest": SMALLEST}
    grouped: Choices = {"granularity": "per_grouped_channel", "group_size": 16}
    return {
        "float16": Scheme("coreml:float16", "iOS17", lambda model: model),
        "int8": Scheme("coreml:int8-weights", "iOS17", quantized("int8", "per_channel"), whole),
        "int8, iOS18": Scheme("coreml:int8-weights", "iOS18", quantized("int8", "per_channel"), whole),
        "int8 blocks": Scheme("coreml:int8-weights", "iOS18", quantized("int8", "per_block"), blocks),
        "int4 blocks": Scheme(
            "coreml:int4-weights",
            "iOS18",
            quantized("int4", "per_block"),
            {"int4-weights": {**int4, "symmetric": True}},
        ),
        "int4 blocks, zero points": Scheme(
            "coreml:int4-weights", "iOS18", quantized("int4", "per_block", "linear"), {"int4-weights": int4}
        ),
        **{f"palette {bits}": palette(bits, "iOS17", palettized(bits)) for bits in (1, 2, 4, 6, 8)},
        "palette 3": palette(3, "iOS18", palettized(3)),
        "palette 4, iOS18": palette(4, "iOS18", palettized(4)),
        "palette 4, groups": palette(4, "iOS18", palettized(4, **grouped), group_channels=16),
        "palette 4, scales": palette(4, "iOS18", palettized(4, enable_per_channel_scale=True), channel_scales=True),
        "palette 4 of int8": palette(
            4, "iOS18", _both(palettized(4), quantized("int8", "per_tensor", joint_compression=True)), table="int8"
        ),
        "sparse": sparse("iOS17", halved()),
        "sparse, iOS18": sparse("iOS18", halved()),
        "sparse int8": sparse(
            "iOS18", _both(halved(), quantized("int8", "per_channel", joint_compression=True)), values="int8"
        ),
        "sparse palette 4": palette(4, "iOS18", _both(halved(), palettized(4, joint=True)), density=0.5),
    }


def _both(first: Theirs, second: Theirs) -> Theirs:
    return lambda model: second(first(model))


def measure(out: Path, names: Sequence[str] = NETWORKS, say: Callable[[str], None] = lambda _: None) -> Table:
    """Bars: bytes of our package, metadata aside, against theirs. `say` hears what is being made."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    files, rows, bars = Files(out, out / "peers", say), list[Row](), list[Bar]()
    for name in names:
        network = files.network(name)
        models = {target: by_coremltools(network, target) for target in ("iOS17", "iOS18")}
        for title, scheme in schemes().items():
            say(f"{name}: {title}")
            ours = package_bytes(exported(network, scheme, title))
            with quiet():
                theirs = saved_bytes(scheme.theirs(models[scheme.target]))
            rows.append({"network": name, "scheme": title, "ours": ours, "coremltools": theirs, "ratio": ours / theirs})
            bars.append(Bar(f"{name} {title}: size, ours / coremltools'", ours / theirs, MOST, at_most=True))
    return Table("Bytes of a package", rows, bars)


def exported(network: Network, scheme: Scheme, title: str) -> Path:
    """Our package, made anew, without verification."""
    folder = network.folder / "packages"
    shutil.rmtree(folder / f"{title}.mlpackage", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    source = folder / "clean.onnx"
    import_module("edgewright.export.onnx.foreign").import_onnx(network.onnx, source)
    for step in route(Spec.parse(scheme.spec), with_data=False):
        made = folder / f"{title}{step.target.suffix}"
        target = {"target": scheme.target} if made.suffix == ".mlpackage" else {}
        options = step.options(**target, **scheme.choices.get(step.name, {}))
        step.function(artifact_at(source), made, import_module("edgewright.export.steps").Job(), options)
        source = made
    return source


def by_coremltools(network: Network, target: str) -> Any:
    """Its float16 model of the same network, through torch.jit.trace."""
    import coremltools as ct
    import torch

    module, example = import_module("edgewright.benchmarks.exporters.networks").NETWORKS[network.name]()
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module, tuple(example.values()))  # type: ignore[no-untyped-call]
        return ct.convert(
            traced,
            inputs=[ct.TensorType(name=name, shape=tuple(x.shape)) for name, x in example.items()],
            minimum_deployment_target=ct.target[target],
            compute_precision=ct.precision.FLOAT16,
            skip_model_load=True,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without coremltools' progress bars, and its warnings about folders that it leaves behind."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved_bytes(model: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "m.mlpackage"
        model.save(str(place))
        return package_bytes(place)


def package_bytes(package: Path) -> int:
    """All files, without the metadata that both add."""
    metadata = load_spec(package)[0].description.metadata
    return sum(file.stat().st_size for file in files_of(package)) - int(metadata.ByteSize())
