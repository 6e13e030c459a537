"""litert-torch: a network → float32 TFLite; a float32 file of its → other precisions by ai-edge-quantizer."""

from importlib import import_module
from typing import Any

from edgewright.benchmarks.exporters.drivers.probe import Job, main


def convert(job: Job) -> None:
    if job.precision == "float32":
        litert_torch, networks = (
            import_module(name) for name in ("litert_torch", "edgewright.benchmarks.exporters.networks")
        )
        module, examples = networks.NETWORKS[job.source]()
        litert_torch.convert(module, tuple(examples.values())).export(job.out)
        return
    quantizer, recipe = (import_module(f"ai_edge_quantizer.{name}") for name in ("quantizer", "recipe"))
    worker = quantizer.Quantizer(job.source)
    answers: Any = None
    if job.precision == "float16":
        names = import_module("ai_edge_quantizer.algorithm_manager").AlgorithmName
        qtyping = import_module("ai_edge_quantizer.qtyping")
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT
        )
        worker.update_quantization_recipe(".*", "*", op_config=config, algorithm_key=names.FLOAT_CASTING)
    elif job.precision == "int8-dynamic":
        worker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        names = import_module("ai_edge_quantizer.algorithm_manager").AlgorithmName
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        for end in ("INPUT", "OUTPUT"):
            worker.update_quantization_recipe(".*", end, algorithm_key=names.NO_QUANTIZE)
        answers = worker.calibrate(samples(job))
    worker.quantize(answers).export_model(job.out, overwrite=True)


def samples(job: Job) -> dict[str, list[dict[str, Any]]]:
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(job.source)
    key, ends = next(iter(interpreter.get_signature_list().items()))
    array = import_module("numpy").load(job.data)
    return {key: [{ends["inputs"][0]: array[index : index + 1]} for index in range(len(array))]}


if __name__ == "__main__":
    main(convert)
