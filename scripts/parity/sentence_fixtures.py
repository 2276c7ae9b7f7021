"""Makes tests/fixtures/encoder/NAME.json with sentence-transformers, the library that all-MiniLM-L6-v2 was published with.

    python3 sentence_fixtures.py MODEL_FOLDER OUT.json [FULL.json]

MODEL_FOLDER holds config.json, tokenizer.json, model.safetensors and sentence_bert_config.json. OUT gets the first eight
components of every vector and the cosines of all pairs; FULL, where given, gets the whole vectors.
"""

import json
import sys

from sentence_transformers import SentenceTransformer

SENTENCES = [
    "How do I reset my password?",
    "I cannot log in to my account because I forgot my password.",
    "The invoice for March is wrong.",
    "My printer is out of paper",
    "La factura de marzo está equivocada.",
    "日本語の文章です。",
    "Naïve CAFÉ — déjà vu! 😀 x²+y² = z²",
    "",
    "   \t\n ",
    "supercalifragilisticexpialidocious " * 3 + "a" * 200,
    "The quick brown fox jumps over the lazy dog. " * 60,
    "[CLS] is a special token and so is [MASK] [SEP]",
]


def main() -> None:
    folder, out, *full = sys.argv[1:]
    model = SentenceTransformer(folder, device="cpu")
    vectors = [model.encode([text], normalize_embeddings=True)[0].astype("float64") for text in SENTENCES]
    cosines = [[round(float(a @ b), 7) for b in vectors] for a in vectors]
    rows = [
        {"text": text, "head": [round(float(x), 7) for x in vector[:8]], "cosines": row}
        for text, vector, row in zip(SENTENCES, vectors, cosines)
    ]
    with open(out, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    if full:
        with open(full[0], "w", encoding="utf-8") as file:
            json.dump([{"text": t, "vector": [float(x) for x in v]} for t, v in zip(SENTENCES, vectors)], file)


main()
