"""Kinglet beside other engines: `run.py setup|inference|training|loader`. See README.md."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)


def setup(args):
    """A virtual environment with the peers."""
    import venv

    venv.create(args.venv, with_pip=True)
    python = os.path.join(args.venv, "bin", "python")
    install = [python, "-m", "pip", "install", "-r", os.path.join(HERE, "requirements.txt")]
    # Together, so that pip finds a torch that LiteRT's converter takes, too.
    if subprocess.run([*install, "-r", os.path.join(HERE, "requirements-litert.txt")]).returncode != 0:
        subprocess.run(install, check=True)
        print("left out: litert, since its converter does not install here (pip says why above)", file=sys.stderr)
    print(f"go on with: {python} {os.path.relpath(__file__)} inference")


def model_flags(args):
    flags = ["--weights", args.weights] if args.weights else ["--cfg", args.model]
    return flags + (["--nc", str(args.nc)] if args.nc and not args.weights else [])


def kinglet(args, *words):
    ran = subprocess.run([args.kinglet, *words, "--quiet"], capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"kinglet {' '.join(words)}\n{ran.stderr.strip()}")
    return ran.stdout


def started(factories):
    """Those engines that start; the others are told."""
    engines = []
    for name, start in factories:
        try:
            engines.append(start())
        except (RuntimeError, OSError) as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return engines


def report(args, kind, setting, results):
    import measure

    content = {"kind": kind, "machine": measure.machine(), **setting, "results": results}
    if args.out:
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with open(args.out, "w") as file:
            json.dump(content, file, indent=1)
        print(f"raw numbers: {args.out}")


def compare(args, kind, setting, engines_for):
    """Measures for each number of threads, prints the tables, writes the raw numbers."""
    import measure

    results = []
    for threads in args.threads:
        engines = engines_for(threads)
        try:
            times = measure.interleave(engines, args.rounds, args.iterations)
        finally:
            for engine in engines:
                engine.close()
        rows = measure.summary(engines, times)
        print(f"\n{kind}, {setting['name']}, {threads} thread{'s' if threads > 1 else ''}\n{measure.table(rows)}\n")
        results.append({"threads": threads, "rows": rows, "times_ms": times})
    report(args, kind, setting, results)


def inference(args):
    import numpy as np

    import engines
    import measure

    with tempfile.TemporaryDirectory() as folder:
        flags, side = model_flags(args), args.img
        made = json.loads(
            kinglet(args, "export", *flags, "--img", str(side), "--raw", "--opset", str(args.opset), "--output", folder, "--json")
        )
        model = os.path.join(folder, os.path.basename(made["file"]))
        # For torch: the same weights under PyTorch's names.
        case = engines.beside(model, ".safetensors")
        kinglet(args, "bench", "train", *flags, "--img", "64", "--batch", "1", "--warmup", "0", "--repeats", "1", "--save-case", case)
        pixels = picture(side)
        source = os.path.join(folder, "input.png")
        write_png(source, pixels)
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        tensor = os.path.join(folder, "input.npy")
        np.save(tensor, images)
        names = args.engines or list(engines.ENGINES)
        for engine, reason in engines.convert(model, images, names).items():
            print(f"no model for {engine}: {reason[0]}", file=sys.stderr)
        script = os.path.join(HERE, "engines.py")
        agreement = {}

        def engines_for(threads):
            command = [args.kinglet, "bench", *flags, "--img", str(side), "--source", source, "--threads", str(threads)]
            command.append("--infer-only")
            infer = lambda told: told["stages"]["infer"]["samples_ms"]
            ours = lambda: measure.Kinglet(command, infer)
            # Peers compute every class score; `detect` does where the objectness passes the threshold.
            every = lambda: measure.Kinglet([*command, "--all-scores"], infer, name="kinglet, all scores")
            start = lambda name: lambda: measure.Worker(name, script, [name, model, tensor, threads], threads)
            running = started([("kinglet", ours), ("kinglet, all scores", every), *((name, start(name)) for name in names)])
            agreement.update(agree(running, folder))
            return running

        setting = {"name": f"{os.path.basename(model)} at {side}x{side}", "image": side, "agreement": agreement}
        compare(args, "inference", setting, engines_for)
        told = ", ".join(f"{name} {value:.1e}" for name, value in agreement.items())
        print(f"largest difference of raw outputs from onnxruntime's, relative: {told}")


def agree(running, folder):
    """How far the engines' outputs are from those of onnxruntime; an engine that is far off computes something else."""
    import numpy as np

    import measure

    outputs = {}
    for engine in running:
        if isinstance(engine, measure.Worker):
            path = os.path.join(folder, engine.name.replace(" ", "_") + ".npz")
            engine.ask(outputs=path)
            with np.load(path) as file:
                outputs[engine.name] = [file[key] for key in file.files]
    reference = outputs.get("onnxruntime")
    differences = {}
    for name, values in outputs.items() if reference else ():
        pairs = [(a.reshape(b.shape), b) for a, b in zip(values, reference)]
        # Biases are most of a raw output: what counts is how the rest of it agrees.
        varying = lambda b: np.abs(b - b.mean((2, 3), keepdims=True)).max()
        worst = max(float(np.abs(a - b).max() / varying(b)) for a, b in pairs)
        if worst > 1e-2:
            raise SystemExit(f"{name} computes something else: outputs differ by {worst:.1e}")
        differences[name] = worst
    return differences


def picture(side):
    """A smooth coloured picture, the same every time."""
    import numpy as np

    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(9 * x + 5 * y), np.cos(13 * y * x + 2), np.sin(21 * (x - y))]
    noise = np.random.default_rng(0).normal(0, 0.1, (side, side, 3))
    return ((np.stack(waves, 2) * 0.4 + 0.5 + noise).clip(0, 1) * 255).astype(np.uint8)


def write_png(path, pixels):
    import cv2

    cv2.imwrite(path, pixels[:, :, ::-1])


def training(args):
    import measure
    import training as peer

    with tempfile.TemporaryDirectory() as folder:
        case = os.path.join(folder, "case.safetensors")
        shape = [*model_flags(args), "--img", str(args.img), "--batch", str(args.batch)]
        kinglet(args, "bench", "train", *shape, "--warmup", "0", "--repeats", "1", "--save-case", case)
        checked = peer.check(case)
        told = ", ".join(f"{step['loss']:.1e}" for step in checked)
        print(f"the same losses as Kinglet's, to {told} of their values in the first {len(checked)} steps")
        script = os.path.join(HERE, "training.py")
        names = args.engines or ["torch", "torch channels_last"]

        def engines_for(threads):
            command = [args.kinglet, "bench", "train", *shape, "--threads", str(threads)]
            ours = lambda: measure.Kinglet(command, lambda told: told["step"]["samples_ms"])
            start = lambda name: lambda: measure.Worker(name, script, [name, case, threads], threads)
            return started([("kinglet", ours), *((name, start(name)) for name in names)])

        name = f"{args.weights or args.model} at {args.img}x{args.img}, batch {args.batch}"
        compare(args, "training", {"name": name, "image": args.img, "batch": args.batch, "check": checked}, engines_for)


def loader(args):
    import loader as peer

    peer.main(args, report)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("setup", help="create a virtual environment with the peers")
    made.add_argument("--venv", default=os.path.join(HERE, ".venv"))
    made.set_defaults(run=setup)
    for name, run in (("inference", inference), ("training", training), ("loader", loader)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--kinglet", default=os.path.join(ROOT, "target", "release", "kinglet"))
        command.add_argument("--model", default="yolov5n", help="model file or built-in model, with random parameters")
        command.add_argument("--weights", help="trained weights instead")
        command.add_argument("--nc", type=int)
        command.add_argument("--img", type=int, default=640 if name == "inference" else 320)
        command.add_argument("--threads", type=int, nargs="+", default=[1, 2])
        command.add_argument("--engines", nargs="+", help="only these peers")
        command.add_argument("--rounds", type=int, default=10)
        command.add_argument("--iterations", type=int, default=10 if name == "inference" else 3)
        command.add_argument("--out", help="raw numbers as JSON, for example benches/runs/NAME.json")
        if name == "inference":
            command.add_argument("--opset", type=int, default=17)
        if name == "training":
            command.add_argument("--batch", type=int, default=8)
        if name == "loader":
            command.add_argument("--data", required=True, help="data.yaml with `path: .`, `train: images/train`")
            command.add_argument("--cache", action="store_true", help="keep decoded, resized pictures in memory")
            command.add_argument("--loader-speed", default=os.path.join(ROOT, "target/release/examples/loader_speed"))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
