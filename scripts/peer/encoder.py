"""Times the sentence encoder against ONNX Runtime and fastembed: run it through scripts/speed_vs_encoder.

There is no published ONNX file in the package registries, so the graph is written here, from the same weights, with the fused
operators that ONNX Runtime's own optimiser makes of an exported BERT. fastembed runs that file; the second peer is ONNX Runtime itself
with texts sorted by length, which leaves little padding. Each round runs all sides one after the other; figures are medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MODEL = "all-minilm-l6-v2"
OURS = "target/release/routergym-local"
ENCODE = "target/release/examples/encode"
MOST_TOKENS = 256
BATCH = 32


def graph(folder: Path, target: Path) -> None:
    """BERT up to its last state, in ONNX Runtime's fused operators."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list, output: str, domain: str = "com.microsoft", **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def norm(prefix: str) -> list:
        return [constant(f"{prefix}.{part}", weights[f"{prefix}.LayerNorm.{part}"]) for part in ("weight", "bias")]

    eps = config["layer_norm_eps"]
    tables = [
        constant(f"embeddings.{name}", weights[f"embeddings.{name}.weight"])
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
    ]
    nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            ["ids", "types", *tables, *norm("embeddings")],
            ["x0", "unused"],
            domain="com.microsoft",
            epsilon=eps,
        )
    )
    x = "x0"
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        wide = np.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
        mixed = node(
            "Attention",
            [x, constant(f"{layer}.qkv", wide), constant(f"{layer}.qkv.bias", bias), "mask"],
            f"{layer}.mixed",
            num_heads=config["num_attention_heads"],
        )

        def linear(inputs: str, name: str, output: str) -> str:
            return node("MatMul", [inputs, constant(f"{name}.T", weights[f"{name}.weight"].T)], output, domain="")

        def residual(inputs: str, before: str, name: str, output: str) -> str:
            bias = constant(f"{name}.dense.bias", weights[f"{name}.dense.bias"])
            return node("SkipLayerNormalization", [inputs, before, *norm(name), bias], output, epsilon=eps)

        joined = linear(mixed, f"{layer}.attention.output.dense", f"{layer}.joined")
        x = residual(joined, x, f"{layer}.attention.output", f"{layer}.middle")
        up = linear(x, f"{layer}.intermediate.dense", f"{layer}.up")
        bias = constant(f"{layer}.up.bias", weights[f"{layer}.intermediate.dense.bias"])
        down = linear(node("BiasGelu", [up, bias], f"{layer}.gelu"), f"{layer}.output.dense", f"{layer}.down")
        x = residual(down, x, f"{layer}.output", f"{layer}.out")
    nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    # fastembed feeds 64-bit integers under these names.
    for name, short in (("input_ids", "ids"), ("token_type_ids", "types"), ("attention_mask", "mask")):
        nodes.insert(0, helper.make_node("Cast", [name], [short], to=TensorProto.INT32))
    shape = ["batch", "tokens"]
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, config["hidden_size"]])
    made = helper.make_model(
        helper.make_graph(nodes, "bert", inputs, [output], constants),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
    )
    made.ir_version = 8
    onnx.save(made, target)


class Runtime:
    name = "ONNX Runtime, texts sorted by length"

    def __init__(self, folder: Path, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MOST_TOKENS)
        self.tokenizer.enable_padding()

    def __call__(self, texts: list) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        out = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            tokens = self.tokenizer.encode_batch([texts[i] for i in batch])
            mask = np.array([t.attention_mask for t in tokens], dtype=np.int64)
            feeds = {
                "input_ids": np.array([t.ids for t in tokens], dtype=np.int64),
                "token_type_ids": np.array([t.type_ids for t in tokens], dtype=np.int64),
                "attention_mask": mask,
            }
            states = self.session.run(None, feeds)[0]
            sums = (states * mask[:, :, None]).sum(axis=1)
            out[batch] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return out


class FastEmbed:
    name = "fastembed"

    def __init__(self, folder: Path, threads: int) -> None:
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        TextEmbedding.add_custom_model(
            model=MODEL,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf="local/only"),
            dim=384,
            model_file="model.onnx",
        )
        self.model = TextEmbedding(MODEL, specific_model_path=str(folder), threads=threads)

    def __call__(self, texts: list) -> np.ndarray:
        return np.array(list(self.model.embed(texts, batch_size=BATCH)))


def prepared(weights: Path, place: Path) -> Path:
    """The folder that the peers read: the weights' own files and the graph."""
    folder = place / MODEL
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "special_tokens_map.json"):
        (folder / name).write_bytes((weights / name).read_bytes())
    # fastembed takes the limit from here, which for this model is twice the one that it was trained with.
    described = json.loads((weights / "tokenizer_config.json").read_text())
    described["model_max_length"] = MOST_TOKENS
    described.pop("max_length", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    if not (folder / "model.onnx").exists():
        graph(weights, folder / "model.onnx")
    return folder


def ours(weights: Path, texts: Path, threads: int) -> tuple:
    with tempfile.NamedTemporaryFile() as vectors:
        command = [ENCODE, str(weights), str(texts), vectors.name]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        seconds = float(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        return seconds, np.fromfile(vectors.name, dtype="<f4").reshape(-1, 384)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("place", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    listing = json.loads(subprocess.check_output([OURS, "models", "list", "--json"]))
    weights = Path(next(row["path"] for row in listing["models"] if row["name"] == MODEL))
    rows = [json.loads(line) for line in arguments.corpus.read_text().splitlines() if line.strip()]
    texts = [f"{row.get('title', '')}\n{row['text']}".strip() for row in rows]
    folder = prepared(weights, arguments.place)
    peers = [Runtime(folder, folder / "model.onnx", arguments.threads)]
    try:
        peers.append(FastEmbed(folder, arguments.threads))
    except Exception as error:  # its own errors have no common kind
        print(f"fastembed is left out: {error}", file=sys.stderr)
    figures = {"routergym-local": [], **{peer.name: [] for peer in peers}}
    cosines = {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        for peer in peers:
            peer(texts[:BATCH])
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
            seconds, vectors = ours(weights, Path(file.name), arguments.threads)
            figures["routergym-local"].append(len(texts) / seconds)
            for peer in peers:
                start = time.perf_counter()
                theirs = peer(texts)
                figures[peer.name].append(len(texts) / (time.perf_counter() - start))
                cosines[peer.name] = float((vectors * theirs).sum(axis=1).min())
    processor = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).split(":")[1].strip()
    print(
        f"{processor}, {arguments.threads} threads, {len(texts)} texts, {arguments.rounds} rounds, ONNX Runtime "
        f"{onnxruntime.__version__}\n\n| encoder | passages/s: median [least, most] | ours / theirs | smallest cosine with ours |"
        "\n|---|---|---|---|"
    )
    mine = statistics.median(figures["routergym-local"])
    for name, values in figures.items():
        middle = statistics.median(values)
        rest = f"{mine / middle:.2f} | {cosines[name]:.7f}" if name in cosines else " | "
        print(f"| {name} | {middle:.1f} [{min(values):.1f}, {max(values):.1f}] | {rest} |")


main()
