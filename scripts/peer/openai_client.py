"""The `openai` package as a client of this server: run it through scripts/test-clients."""

import json
import os
import tempfile
import threading

import openai
from servers import ours

MODEL = os.environ.get("ROUTERGYM_TEST_MODEL", "smollm2-135m-instruct")
ENCODER = "all-minilm-l6-v2"
KEY = "open-sesame"
ASK = [{"role": "user", "content": "Name three colours."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}


def chats(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(
        model=model, messages=ASK, max_tokens=20, temperature=0, seed=1, logprobs=True, top_logprobs=3
    )
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.message.content, whole
    assert choice.finish_reason in ("stop", "length"), whole
    assert len(choice.logprobs.content) == whole.usage.completion_tokens, whole
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in choice.logprobs.content), whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole

    pieces = list(
        client.chat.completions.create(
            model=model, messages=ASK, max_completion_tokens=20, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == choice.message.content, (text, choice.message.content)
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens, pieces[-1]
    # The prompt was asked before.
    assert pieces[-1].usage.prompt_tokens_details.cached_tokens > 0, pieces[-1]

    stopped = client.chat.completions.create(model=model, messages=ASK, max_tokens=20, temperature=0, stop=[text[3:6]])
    assert stopped.choices[0].message.content == text[: text.index(text[3:6])] and stopped.choices[0].finish_reason == "stop"

    same = [
        client.chat.completions.create(model=model, messages=ASK, max_tokens=12, temperature=1, top_p=0.9, seed=7)
        for _ in range(2)
    ]
    assert same[0].choices[0].message.content == same[1].choices[0].message.content, same


def schemas(client: openai.OpenAI, model: str) -> None:
    strict = {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": SCHEMA}}
    held = client.chat.completions.create(model=model, messages=ASK, max_tokens=60, response_format=strict)
    answer = json.loads(held.choices[0].message.content)
    assert answer["colour"] in ("red", "green", "blue") and isinstance(answer["warm"], bool), answer
    some = client.chat.completions.create(
        model=model, messages=ASK, max_tokens=200, temperature=0, response_format={"type": "json_object"}
    )
    if some.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(some.choices[0].message.content), dict), some
    plain = client.chat.completions.create(model=model, messages=ASK, max_tokens=4, response_format={"type": "text"})
    assert plain.choices[0].message.content, plain


def texts_and_embeddings(client: openai.OpenAI, model: str) -> None:
    text = client.completions.create(model=model, prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=2)
    assert text.choices[0].text and len(text.choices[0].logprobs.tokens) == text.usage.completion_tokens, text
    streamed = client.completions.create(
        model=model, prompt="The capital of France is", max_tokens=4, temperature=0, stream=True
    )
    assert "".join(piece.choices[0].text for piece in streamed if piece.choices) == text.choices[0].text
    # The package asks for base64 unless it is told otherwise.
    coded = client.embeddings.create(model=ENCODER, input=["a printer on fire", "quarterly figures"])
    plain = client.embeddings.create(model=ENCODER, input="a printer on fire", encoding_format="float")
    assert len(coded.data) == 2 and coded.data[1].index == 1 and coded.usage.prompt_tokens > 4, coded.usage
    assert max(abs(a - b) for a, b in zip(coded.data[0].embedding, plain.data[0].embedding)) < 1e-6
    assert abs(sum(x * x for x in plain.data[0].embedding) - 1) < 1e-4
    names = [one.id for one in client.models.list()]
    assert names == [model, ENCODER], names


def refusals(client: openai.OpenAI, model: str) -> None:
    def refused(kind: type, code: str | None, **changes: object) -> None:
        try:
            client.chat.completions.create(**{"model": model, "messages": ASK, "max_tokens": 4, **changes})
        except kind as error:
            assert code is None or error.code == code, error
            return
        raise AssertionError(f"{changes} was not refused")

    refused(openai.BadRequestError, "context_length_exceeded", messages=[{"role": "user", "content": "word " * 9000}])
    refused(openai.BadRequestError, None, temperature=9)
    refused(openai.BadRequestError, None, n=3)
    refused(openai.BadRequestError, None, messages=[])
    refused(openai.BadRequestError, None, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
    wrong = {"type": "json_schema", "json_schema": {"name": "w", "schema": {"type": "nonsense"}}}
    refused(openai.BadRequestError, None, response_format=wrong)
    refused(openai.NotFoundError, "model_not_found", model="gpt-nonsense")
    try:
        client.with_options(api_key="wrong").models.list()
        raise AssertionError("a wrong key was let in")
    except openai.AuthenticationError as error:
        assert KEY not in str(error)


def many(client: openai.OpenAI, model: str) -> None:
    """Twelve clients at once get what each gets alone, and one that leaves early harms nobody."""

    def ask(number: int) -> str:
        messages = [{"role": "user", "content": f"Tell me about the number {number}."}]
        answer = client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0)
        return answer.choices[0].message.content

    alone = [ask(number) for number in range(12)]
    together = [""] * 12
    threads = [
        threading.Thread(target=lambda n=number: together.__setitem__(n, ask(n))) for number in range(12)
    ]
    stream = client.chat.completions.create(model=model, messages=ASK, max_tokens=2000, stream=True)
    next(iter(stream))
    for thread in threads:
        thread.start()
    stream.close()
    for thread in threads:
        thread.join()
    assert together == alone, [pair for pair in zip(alone, together) if pair[0] != pair[1]]


def main() -> None:
    os.environ["ROUTERGYM_TEST_KEY"] = KEY
    log = os.path.join(tempfile.mkdtemp(), "server.log")
    flags = ["--embeddings", ENCODER, "--api-key-env", "ROUTERGYM_TEST_KEY", "--device", "cpu"]
    with ours(MODEL, log, *flags, alias=None) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120)
        model = client.models.list().data[0].id
        for check in (chats, schemas, texts_and_embeddings, refusals, many):
            check(client, model)
            print(f"openai {openai.__version__}: {check.__name__} ok", flush=True)


main()
