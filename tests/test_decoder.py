"""The decoder: what it computes, what a cache must not change, what it refuses."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from genflow_lite.decoder import Cache, Decoder, attend, generate

VOCABULARY = 11


def net(*, context=20, **options):
    options = {"width": 16, "layers": 2, "heads": 4, "kv_heads": 2, **options}
    return Decoder(VOCABULARY, context=context, **options).double()


def text(batch=2, length=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (batch, length), generator=generator)


def by_loops(model, tokens):
    """Logits of one text (L,), word after word and head after head, in Python."""
    w = {name: p.detach() for name, p in model.named_parameters()}
    h = [w["token.weight"][t] + w["position.weight"][i] for i, t in enumerate(tokens)]
    d = model.width // model.heads
    share = model.heads // model.kv_heads

    def norm(x, gain):
        return x * gain / math.sqrt(float((x * x).mean()) + 1e-6)

    for n in range(len(model.layers)):
        p = {k[len(f"layers.{n}.") :]: v for k, v in w.items() if f"layers.{n}." in k}
        y = [norm(x, p["before_attention.weight"]) for x in h]
        q, k, v = ([p[f"{m}.weight"] @ x for x in y] for m in ("query", "key", "value"))
        for i in range(len(h)):
            heads = []
            for head in range(model.heads):
                own = slice(head * d, head * d + d)
                theirs = slice(head // share * d, head // share * d + d)
                logits = [
                    float(q[i][own] @ k[j][theirs]) / d**0.5 for j in range(i + 1)
                ]
                total = sum(math.exp(x) for x in logits)
                parts = [
                    math.exp(x) / total * v[j][theirs] for j, x in enumerate(logits)
                ]
                heads.append(torch.stack(parts).sum(0))
            h[i] = h[i] + p["out.weight"] @ torch.cat(heads)
        for i, x in enumerate(h):
            z = p["up.weight"] @ norm(x, p["before_mlp.weight"])
            h[i] = x + p["down.weight"] @ (z / (1 + torch.exp(-z)))
    return torch.stack([w["logits.weight"] @ norm(x, w["last.weight"]) for x in h])


# What it computes


@torch.no_grad()
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_network_by_loops(kv_heads):
    model, tokens = net(kv_heads=kv_heads), text()
    expected = torch.stack([by_loops(model, t) for t in tokens])
    torch.testing.assert_close(model(tokens), expected, rtol=1e-12, atol=1e-12)


def test_attention_by_hand():
    # Two words, one head of width 1: logits 0 for the first, (0, log 3) for the second.
    q = torch.tensor([[[[1.0], [1.0]]]], dtype=torch.float64)
    k = torch.tensor([[[[0.0], [math.log(3)]]]], dtype=torch.float64)
    v = torch.tensor([[[[4.0], [8.0]]]], dtype=torch.float64)
    expected = torch.tensor([[[[4.0], [7.0]]]], dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v), expected)
    # With a past of one word, the only query is the second word.
    torch.testing.assert_close(attend(q[:, :, 1:], k, v), expected[:, :, 1:])


def test_a_word_depends_on_those_before_it_and_no_others():
    model, tokens = net(), text(1)
    old = model(tokens)
    for changed in range(tokens.shape[1]):
        other = tokens.clone()
        other[0, changed] = (other[0, changed] + 1) % VOCABULARY
        moved = (model(other) - old).abs().amax(-1)[0] > 1e-9
        assert moved.tolist() == [i >= changed for i in range(tokens.shape[1])]


def test_float32_whatever_the_default_is_and_the_same_for_a_seed():
    torch.set_default_dtype(torch.float64)
    try:
        a, b, c = (Decoder(5, width=8, heads=2, seed=s) for s in (3, 3, 4))
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in a.parameters()} == {torch.float32}
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    assert not torch.equal(a.token.weight, c.token.weight)


# A cache changes nothing


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([1, 2, 4]))
@torch.no_grad()
def test_any_way_to_read_a_text_gives_the_same_logits(sizes, kv_heads):
    model = net(kv_heads=kv_heads, context=24)
    tokens = text(length=sum(sizes))
    cache = model.cache(2)
    parts = [model(part, cache) for part in tokens.split(sizes, 1)]
    assert cache.length == sum(sizes)
    torch.testing.assert_close(
        torch.cat(parts, 1), model(tokens), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_generation_is_the_same_with_and_without_a_cache(temperature):
    model, start = net(), text(3, 5)
    ways = [{"cached": False}, {}, {"chunk": 2}, {"chunk": 1}, {"chunk": 99}]
    texts = [
        generate(
            model,
            start,
            16,
            temperature=temperature,
            generator=torch.Generator().manual_seed(5),
            **way,
        )
        for way in ways
    ]
    assert texts[0].shape == (3, 21)
    assert torch.equal(texts[0][:, :5], start)
    assert all(torch.equal(t, texts[0]) for t in texts)


def test_greedy_generation_takes_the_most_likely_word_each_time():
    model, expected = net(), text(1, 4)
    for _ in range(6):
        following = by_loops(model, expected[0])[-1].argmax()
        expected = torch.cat([expected, following.view(1, 1)], 1)
    assert torch.equal(generate(model, text(1, 4), 6), expected)


def test_drawn_words_have_the_right_frequencies():
    model = net()
    with torch.no_grad():
        p = (model(text(1, 3))[0, -1] / 0.7).softmax(-1)
    many = generate(
        model,
        text(1, 3).expand(20_000, 3),
        1,
        temperature=0.7,
        generator=torch.Generator().manual_seed(0),
    )
    share = torch.bincount(many[:, -1], minlength=VOCABULARY) / 20_000
    assert ((share - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt() + 1e-4).all()


def test_a_step_with_a_cache_executes_less():
    def executed(tokens, cache):
        with torch.no_grad(), FlopCounterMode(display=False) as count:
            model(tokens, cache)
        return count.get_total_flops()

    model, tokens = net(), text(1, 15)
    cache = model.cache()
    model(tokens[:, :-1], cache)
    # 10 d² + 2 d G d_h in matrices, 2 d a key, in two layers; d V at the end.
    d, gain = 16, 2 * (2 * (10 * 256 + 2 * 16 * 8 + 2 * 15 * 16) + 16 * VOCABULARY)
    assert d == model.width
    assert executed(tokens[:, -1:], cache) == gain
    assert executed(tokens, None) == 2 * (
        2 * (15 * (10 * 256 + 2 * 16 * 8) + 2 * 15 * 15 * 16) + 15 * 16 * VOCABULARY
    )


# The cache


def test_bytes_a_token():
    cache = net().float().cache(3)
    assert cache.bytes_a_token == 2 * 2 * 3 * 2 * 4 * 4
    stored = sum(x.untyped_storage().nbytes() for x in (cache.keys, cache.values))
    assert stored == cache.bytes_a_token * cache.capacity
    assert net().to(torch.bfloat16).cache().bytes_a_token == 2 * 2 * 2 * 4 * 2


def test_a_cache_is_never_overrun():
    model = net()
    cache = model.cache(2, capacity=7)
    model(text(2, 6), cache)
    keys = cache.keys.clone()
    with pytest.raises(ValueError, match=r"tokens: 2 more do not fit.*6 of at most 7"):
        model(text(2, 2), cache)
    assert cache.length == 6
    assert torch.equal(cache.keys, keys)
    model(text(2, 1), cache)
    k = torch.zeros(2, 2, 1, 4, dtype=torch.float64)
    for overrun in (lambda: cache.append(0, k, k), lambda: cache.advance(1)):
        with pytest.raises(ValueError, match=r"1 more do not fit.*7 of at most 7"):
            overrun()
    with pytest.raises(ValueError, match="context has 20 positions; got 21 after 0"):
        model(text(1, 21))


def test_an_unread_place_of_the_cache_does_not_matter():
    model, tokens = net(), text(1, 8)
    cache = model.cache()
    cache.keys.fill_(math.nan)
    cache.values.fill_(math.nan)
    logits = torch.cat([model(part, cache) for part in tokens.split(3, 1)], 1)
    torch.testing.assert_close(logits, model(tokens))


def test_gradients_go_through_a_call_without_a_cache():
    model = net()
    model(text()).logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10}, "width must be a multiple of heads; got 10, 4"),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads; got 4 and 3"),
        ({"layers": 0}, "layers must be"),
        ({"context": 0}, "context must be"),
        ({"heads": -1}, "heads must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_plans(options, message):
    with pytest.raises(ValueError, match=message):
        net(**options)


def test_bad_tokens():
    model = net()
    with pytest.raises(TypeError, match="tokens must be an int64 tensor; got"):
        model(torch.zeros(1, 3))
    with pytest.raises(TypeError, match="tokens must be an int64 tensor; got"):
        model([[1, 2]])
    for wrong in (torch.zeros(3).long(), torch.zeros(1, 0).long()):
        with pytest.raises(ValueError, match=r"tokens must be \(B, n\)"):
            model(wrong)
    for wrong, got in ((11, "11 to 11"), (-1, "-1 to -1")):
        with pytest.raises(ValueError, match=f"from 0 to 10; got {got}"):
            model(torch.tensor([[wrong]]))


def test_a_cache_of_another_batch_or_network():
    with pytest.raises(ValueError, match=r"cache must be .* made by this network's"):
        net()(text(2), net().cache(3))
    with pytest.raises(ValueError, match="cache must be"):
        net()(text(2), net(kv_heads=4).cache(2))
    with pytest.raises(ValueError, match="capacity must be at most the context, 20"):
        net().cache(capacity=21)
    with pytest.raises(ValueError, match="keys and values must both be"):
        Cache(torch.zeros(1, 1, 1, 4, 2), torch.zeros(1, 1, 1, 4, 3))


def test_attention_of_wrong_shapes():
    q, k = torch.zeros(1, 4, 3, 2), torch.zeros(1, 2, 5, 2)
    for wrong in (
        (q, k, k[:, :, :4]),
        (q, k[:, :, :2], k[:, :, :2]),
        (q, k[..., :1], k[..., :1]),
        (q[:, :3], k, k),
        (q, k.expand(2, 2, 5, 2), k.expand(2, 2, 5, 2)),
    ):
        with pytest.raises(ValueError, match=r"q must be \(B, H, n, d\)"):
            attend(*wrong)


def test_bad_generation():
    model = net()
    with pytest.raises(
        ValueError, match=r"n: 17 tokens after a prompt of 5 need .* 21"
    ):
        generate(model, text(1, 5), 17)
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature must be at least 0"):
            generate(model, text(1, 5), 2, temperature=wrong)
    with pytest.raises(TypeError, match="generator"):
        generate(model, text(1, 5), 2, temperature=1.0)
    with pytest.raises(ValueError, match="chunk: without a cache"):
        generate(model, text(1, 5), 2, cached=False, chunk=2)
    with pytest.raises(ValueError, match="n must be"):
        generate(model, text(1, 5), 0)
    with pytest.raises(ValueError, match="chunk must be"):
        generate(model, text(1, 5), 2, chunk=0)


def test_every_capacity_up_to_the_text_is_enough():
    model = net()
    for p, n in itertools.product((1, 5), (1, 3)):
        assert generate(model, text(1, p), n).shape == (1, p + n)
    assert generate(model, text(1, 20), 1).shape == (1, 21)
