"""OpenAI's own client talks to the service."""

import base64

import numpy as np
import openai
import pytest
from serve.services import PROMPTS
from tokenizers import Tokenizer
from train.untrained import DIMS, TEXTS

import mrl_edge


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("dim", [None, *DIMS])
@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}])
def test_vectors_are_the_bundle_s(client, tiny, dim, form):
    options = form if dim is None else {**form, "dimensions": dim}
    answer = client.embeddings.create(model="tiny", input=TEXTS, **options)
    wanted = mrl_edge.load(tiny, dim or 10, "fp32").encode(TEXTS)
    assert [row.index for row in answer.data] == list(range(len(TEXTS)))
    np.testing.assert_allclose([row.embedding for row in answer.data], wanted, atol=2e-6)
    assert answer.model == "tiny"


def test_base64_is_of_little_endian_float32(client, tiny):
    answer = client.embeddings.create(model="tiny", input="abc", encoding_format="base64")
    vector = np.frombuffer(base64.b64decode(answer.data[0].embedding), "<f4")
    np.testing.assert_allclose(vector, mrl_edge.load(tiny, 10, "fp32").encode(["abc"])[0], atol=2e-6)


def test_usage_counts_the_tokens_that_are_read(client, tiny):
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    wanted = sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    usage = client.embeddings.create(model="tiny", input=TEXTS).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (wanted, wanted)


def test_a_prompt_can_be_named_beside(client, tiny):
    answer = client.embeddings.create(model="tiny", input="abc", extra_body={"prompt": "query"})
    wanted = mrl_edge.load(tiny, 10, "fp32").encode([PROMPTS["query"] + "abc"])[0]
    np.testing.assert_allclose(answer.data[0].embedding, wanted, atol=2e-6)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "mrl-edge"
    with pytest.raises(openai.NotFoundError, match="'tiny' is served"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize(
    ("options", "kind", "param", "said"),
    [
        ({"dimensions": 5}, openai.BadRequestError, "dimensions", "which has 4, 10, 24"),
        ({"input": [1, 2, 3]}, openai.BadRequestError, "input", "tokens are not taken"),
        ({"input": [[1, 2], [3]]}, openai.BadRequestError, "input", "tokens are not taken"),
        ({"input": []}, openai.BadRequestError, "input", "there is no text"),
        ({"model": "text-embedding-3-small"}, openai.NotFoundError, "model", "'tiny' is served"),
    ],
)
def test_errors_are_those_that_the_client_knows(client, options, kind, param, said):
    with pytest.raises(kind, match=said) as raised:
        client.embeddings.create(**{"model": "tiny", "input": "a", **options})
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
