"""One inference engine as a worker: `engines.py ENGINE MODEL INPUT THREADS`.

MODEL is an ONNX file with raw head levels (for torch and LiteRT: a case of `kinglet bench train --save-case`), INPUT a
.npy of [n, 3, h, w]. Converted files lie beside the ONNX file. All engines compute in f32.
"""

import os
import subprocess
import sys

import numpy as np

import measure


def beside(model, suffix):
    return os.path.splitext(model)[0] + suffix


def convert(model, images, engines):
    """Makes the files that ncnn, MNN and LiteRT read, for those of `engines`. Returns what went wrong, by engine."""
    failed = {}
    tools = os.path.dirname(sys.executable)
    shape = ",".join(map(str, images.shape))
    jobs = {
        "ncnn": (beside(model, ".ncnn.param"), [sys.executable, "-m", "pnnx", model, f"inputshape=[{shape}]", "fp16=0"]),
        "mnn": (
            beside(model, ".mnn"),
            [os.path.join(tools, "mnnconvert"), "-f", "ONNX", "--modelFile", model, "--MNNModel", beside(model, ".mnn"),
             "--bizCode", "kinglet"],
        ),
        "litert": (
            beside(model, ".tflite"),
            [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "litert_model.py"),
             beside(model, ".safetensors"), *map(str, images.shape[2:]), beside(model, ".tflite")],
        ),
    }
    if os.path.exists(os.path.join(tools, "pnnx")):
        jobs["ncnn"][1][:3] = [os.path.join(tools, "pnnx")]
    for engine, (made, command) in jobs.items():
        if engine not in engines:
            continue
        if os.path.exists(made) and os.path.getmtime(made) > os.path.getmtime(model):
            continue
        try:
            ran = subprocess.run(command, capture_output=True, text=True, cwd=os.path.dirname(os.path.abspath(model)))
            if not os.path.exists(made):
                failed[engine] = (ran.stderr or ran.stdout).strip().splitlines()[-1:] or ["no file was made"]
        except OSError as error:
            failed[engine] = [str(error)]
    return failed


def onnxruntime(model, images, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    run = lambda: session.run(None, {name: images})
    return run, run, ort.__version__


def openvino(model, images, threads):
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(images))
    outputs = lambda: [np.array(request.get_output_tensor(i).data) for i in range(len(compiled.outputs))]
    return request.infer, lambda: (request.infer(), outputs())[1], ov.__version__.split("-")[0]


def ncnn(model, images, threads):
    import ncnn as engine

    net = engine.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(beside(model, ".ncnn.param"))
    net.load_model(beside(model, ".ncnn.bin"))
    value = engine.Mat(images[0])
    names = sorted(net.output_names())

    def run():
        extractor = net.create_extractor()
        extractor.input("in0", value)
        return [extractor.extract(name)[1] for name in names]

    return run, lambda: [np.array(out)[None] for out in run()], engine.__version__


def mnn(model, images, threads):
    import MNN

    runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
    names = [f"raw{i}" for i in range(3)]
    net = MNN.nn.load_module_from_file(beside(model, ".mnn"), ["images"], names, runtime_manager=runtime)
    value = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)

    def run():
        return [np.array(MNN.expr.convert(out, MNN.expr.NCHW).read()) for out in net.forward([value])]

    return run, run, MNN.version() if hasattr(MNN, "version") else ""


def litert(model, images, threads):
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    # XNNPACK in f32 is what it takes by itself. The input's buffer is kept from run to run.
    interpreter = Interpreter(model_path=beside(model, ".tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images.transpose(0, 2, 3, 1).copy())
    levels = sorted(interpreter.get_output_details(), key=lambda level: -level["shape"][1])
    outputs = lambda: [interpreter.get_tensor(level["index"]).transpose(0, 3, 1, 2) for level in levels]
    return interpreter.invoke, lambda: (interpreter.invoke(), outputs())[1], ai_edge_litert.__version__


def torch_eager(model, images, threads, channels_last=False):
    import torch

    import torch_models

    torch.set_num_threads(threads)
    case = torch_models.read_case(beside(model, ".safetensors"))
    net = torch_models.Detector.from_case(case).eval()
    value = torch.from_numpy(images)
    if channels_last:
        net, value = net.to(memory_format=torch.channels_last), value.contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return net(value)

    def outputs():
        n = images.shape[0]
        flat = lambda y: y.permute(0, 1, 4, 2, 3).reshape(n, -1, y.shape[2], y.shape[3])
        return [flat(y).contiguous().numpy() for y in run()]

    return run, outputs, torch.__version__.split("+")[0]


ENGINES = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "ncnn": ncnn,
    "mnn": mnn,
    "litert": litert,
    "torch": torch_eager,
    "torch channels_last": lambda *a: torch_eager(*a, channels_last=True),
}

if __name__ == "__main__":
    engine, path, source, count = sys.argv[1:]
    tensor = np.load(source)
    iteration, results, version = ENGINES[engine](path, tensor, int(count))
    measure.serve(iteration, version, results)
