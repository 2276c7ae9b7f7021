// Makes the expected token ids of tests/fixtures/tokenizer with llama.cpp, through its prebuilt Node binding.
//
//   node tokenizer_fixtures.mjs BINDING_FOLDER OUT_FOLDER NAME=MODEL.gguf [NAME=MODEL.gguf ...]
//
// BINDING_FOLDER is where `node-llama-cpp` (3.22) was installed (the folder that holds its node_modules). Only the
// vocabulary of each model is loaded. One NAME.json is written per model: {"model", "cases": [{"text", "special", "ids"}]}.
//
// The corpus does not hold the text "</s>": llama.cpp treats any token so written as a control token, even where the
// model's file says that it is ordinary text (Qwen) or user-defined (Gemma), and the product follows the file.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [bindingFolder, outFolder, ...models] = process.argv.slice(2);
if (models.length === 0) {
    console.error("usage: tokenizer_fixtures.mjs BINDING_FOLDER OUT_FOLDER NAME=MODEL.gguf ...");
    process.exit(2);
}
const entry = join(resolve(bindingFolder), "node_modules/node-llama-cpp/dist/index.js");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const corpus = JSON.parse(readFileSync(join(dirname(fileURLToPath(import.meta.url)), "tokenizer_corpus.json"), "utf8"));
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });

for (const pair of models) {
    const at = pair.indexOf("=");
    const [name, path] = [pair.slice(0, at), pair.slice(at + 1)];
    const model = await llama.loadModel({ modelPath: resolve(path), vocabOnly: true });
    const cases = corpus.flatMap((text) =>
        [true, false].map((special) => ({ text, special, ids: Array.from(model.tokenize(text, special)) })),
    );
    const lines = cases.map((one) => "    " + JSON.stringify(one)).join(",\n");
    const head = `  "model": ${JSON.stringify(basename(path))},\n  "cases": [\n`;
    writeFileSync(join(outFolder, `${name}.json`), `{\n${head}${lines}\n  ]\n}\n`);
    await model.dispose();
}
process.exit(0);
