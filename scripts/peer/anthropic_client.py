"""The `anthropic` package as a client of this server: run it through scripts/test-clients."""

import json
import os
import tempfile

import anthropic
from servers import ours

MODEL = os.environ.get("ROUTERGYM_TEST_MODEL", "smollm2-135m-instruct")
KEY = "open-sesame"
ASK = [{"role": "user", "content": "Name three colours."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}


def messages(client: anthropic.Anthropic, model: str) -> None:
    # The package has no parameter for the temperature, which the protocol has.
    ask = {"model": model, "max_tokens": 20, "system": "Be brief.", "messages": ASK, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**ask)
    assert whole.role == "assistant" and whole.content[0].text, whole
    assert whole.stop_reason in ("end_turn", "max_tokens"), whole
    assert whole.usage.input_tokens + whole.usage.cache_read_input_tokens > 5 and whole.usage.output_tokens > 1, whole

    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert text == whole.content[0].text == last.content[0].text, (text, whole, last)
    assert last.usage.output_tokens == whole.usage.output_tokens, last
    assert last.stop_reason == whole.stop_reason, last

    cut = client.messages.create(**{**ask, "stop_sequences": [text[3:6]]})
    assert cut.content[0].text == text[: text.index(text[3:6])], (cut, text)


def schemas(client: anthropic.Anthropic, model: str) -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    held = client.messages.create(model=model, max_tokens=60, messages=ASK, extra_body={"output_config": config})
    answer = json.loads(held.content[0].text)
    assert answer["colour"] in ("red", "green", "blue") and isinstance(answer["warm"], bool), answer


def refusals(client: anthropic.Anthropic, model: str) -> None:
    def refused(kind: type, **changes: object) -> None:
        try:
            client.messages.create(**{"model": model, "messages": ASK, "max_tokens": 4, **changes})
        except kind as error:
            assert error.body["type"] == "error" and error.body["error"]["message"], error.body
            return
        raise AssertionError(f"{changes} was not refused")

    refused(anthropic.BadRequestError, messages=[{"role": "user", "content": "word " * 9000}])
    refused(anthropic.BadRequestError, messages=[])
    refused(anthropic.BadRequestError, extra_body={"temperature": 1.5})
    refused(anthropic.BadRequestError, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    refused(anthropic.NotFoundError, model="claude-nonsense")
    try:
        client.with_options(api_key="wrong").messages.create(model=model, messages=ASK, max_tokens=4)
        raise AssertionError("a wrong key was let in")
    except anthropic.AuthenticationError as error:
        assert KEY not in str(error)


def main() -> None:
    os.environ["ROUTERGYM_TEST_KEY"] = KEY
    log = os.path.join(tempfile.mkdtemp(), "server.log")
    with ours(MODEL, log, "--api-key-env", "ROUTERGYM_TEST_KEY", "--device", "cpu", alias=None) as server:
        client = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=120)
        for check in (messages, schemas, refusals):
            check(client, MODEL)
            print(f"anthropic {anthropic.__version__}: {check.__name__} ok", flush=True)


main()
