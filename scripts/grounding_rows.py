#!/usr/bin/env python3
"""Makes rows for `eval grounding` of MT-RAG generation tasks.

    scripts/grounding_rows.py DATA_FOLDER OUT_FOLDER

DATA_FOLDER holds tasks.jsonl: tasks with contexts, a reference answer and an answerability label. Every task gives its
contexts with its own reference answer (label 1) and with another task's (label 0). Which other one differs by file:

    next.jsonl        the next task's in the file
    collection.jsonl  the next task's of the same collection
    nearest.jsonl     that of the task of the same collection whose answer shares most words with this one's (Jaccard); the
                      hardest, and some of these answers are true by the contexts as well
    corrupted.jsonl   no other answer: the own answer in which some claims were changed (another task's sentence, another
                      number, a negation, another name, the end of another sentence); the label is the share of unchanged ones
    abstention.jsonl  the own answers alone, without labels

Each task's own row says whether it is answerable. Nothing is drawn at random that a seed does not fix.
"""

import json
import random
import re
import sys
from pathlib import Path


def words(text):
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def sentences(text):
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", " ".join(text.split())) if part.strip()]


def row(task, answer, label, own):
    made = {"contexts": task["contexts"], "answer": answer}
    if label is not None:
        made["label"] = label
    if own:
        made["answerable"] = task["answerability"] != "UNANSWERABLE"
    return made


def read(folder):
    tasks = []
    with open(Path(folder) / "tasks.jsonl", encoding="utf-8") as lines:
        for line in lines:
            task = json.loads(line)
            contexts = [
                {"id": c["document_id"], "title": c.get("title", ""), "text": c["text"]} for c in task["contexts"]
            ]
            answer = task["targets"][0]["text"].strip()
            tasks.append({
                "contexts": contexts,
                "answer": answer,
                "answerability": task["answerability"][0],
                "collection": task["Collection"],
                "words": words(answer),
            })
    return tasks


def other(tasks, index, how):
    task = tasks[index]
    turned = tasks[index + 1 :] + tasks[:index]
    if how == "next":
        return turned[0]
    same = [t for t in turned if t["collection"] == task["collection"]]
    if how == "collection":
        return same[0]
    return max(same, key=lambda t: len(t["words"] & task["words"]) / max(1, len(t["words"] | task["words"])))


def change_number(claim, rng):
    found = list(re.finditer(r"\d+", claim))
    if not found:
        return None
    at = rng.choice(found)
    value = int(at.group()[:9])
    changed = value + rng.choice([-1, 1]) * rng.randint(1, max(3, min(value // 5, 15)))
    return claim[: at.start()] + str(abs(changed)) + claim[at.end() :]


def negate(claim, rng):
    at = re.search(r"\b(is|are|was|were|can|should|must|will|has been|have been)\b(?! not)", claim)
    return claim[: at.end()] + " not" + claim[at.end() :] if at else None


def names(text):
    return [at for at in re.finditer(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)]


def change_name(claim, task, rng):
    here = names(claim)
    there = [at.group() for c in task["contexts"] for at in names(c["text"]) if at.group() not in claim]
    if not here or not there:
        return None
    at = rng.choice(here)
    return claim[: at.start()] + rng.choice(there) + claim[at.end() :]


def splice(claim, task, rng):
    parts = claim.split()
    ends = [s.split() for c in task["contexts"] for s in sentences(c["text"]) if len(s.split()) > 6]
    if len(parts) < 8 or not ends:
        return None
    end = rng.choice(ends)
    return None if " ".join(end[-5:]) in claim else " ".join(parts[: len(parts) // 2] + end[len(end) // 2 :])


def corrupted(tasks, index, rng):
    task = tasks[index]
    claims = sentences(task["answer"])
    pool = [t for t in tasks if t is not task and t["collection"] == task["collection"]]
    out, changed = list(claims), 0
    for at in rng.sample(range(len(claims)), rng.randint(1, len(claims))):
        kind = rng.choice(["other", "number", "negation", "name", "splice"])
        new = {
            "number": lambda: change_number(claims[at], rng),
            "negation": lambda: negate(claims[at], rng),
            "name": lambda: change_name(claims[at], task, rng),
            "splice": lambda: splice(claims[at], task, rng),
        }.get(kind, lambda: None)()
        out[at] = new or rng.choice(sentences(rng.choice(pool)["answer"]))
        changed += 1
    return " ".join(out), 1 - changed / len(claims)


def main(data, out):
    tasks = read(data)
    Path(out).mkdir(parents=True, exist_ok=True)
    for how in ["next", "collection", "nearest"]:
        with open(Path(out) / f"{how}.jsonl", "w", encoding="utf-8") as file:
            for index, task in enumerate(tasks):
                for made in (row(task, task["answer"], 1, True), row(task, other(tasks, index, how)["answer"], 0, False)):
                    file.write(json.dumps(made, ensure_ascii=False) + "\n")
    with open(Path(out) / "abstention.jsonl", "w", encoding="utf-8") as file:
        for task in tasks:
            file.write(json.dumps(row(task, task["answer"], None, True), ensure_ascii=False) + "\n")
    rng = random.Random(7)
    with open(Path(out) / "corrupted.jsonl", "w", encoding="utf-8") as file:
        for index, task in enumerate(tasks):
            if task["contexts"] and task["answerability"] in ("ANSWERABLE", "PARTIAL"):
                for _ in range(3):
                    answer, label = corrupted(tasks, index, rng)
                    file.write(json.dumps(row(task, answer, label, False), ensure_ascii=False) + "\n")
                file.write(json.dumps(row(task, task["answer"], 1, False), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
