"""A small transformer decoder that remembers: causal attention with a cache.

A token attends to itself and to those before it, never to those after it. So what a
layer has computed for a token stays right when further tokens come, and of that only
two vectors a head are ever needed again: the token's key and its value. `Cache` keeps
them, and a call with a cache is given the new tokens alone.
"""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import silu

from genflow_lite._cache import Cache
from genflow_lite._net import seeded
from genflow_lite._shapes import check_count, check_generator, describe

__all__ = ["Cache", "Decoder", "attend", "generate"]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of the last n of m tokens: softmax(q kᵀ/√d + mask) v.

    Query i is token i + m − n, so it sees key j where j ≤ i + m − n (the mask's
    corner is bottom right). q (B, H, n, d), k and v (B, G, m, d) with n ≤ m and H a
    multiple of G: query head h uses key/value head h // (H/G), and the queries of a
    group share one product with its keys (Ainslie et al. 2023). Returns (B, H, n, d).
    Raises ValueError for other shapes.
    """
    (b, heads, n, d), (_, groups, m, _) = q.shape, k.shape
    if k.shape != v.shape or k.shape != (b, groups, m, d) or heads % groups or n > m:
        raise ValueError(
            "q must be (B, H, n, d), k and v (B, G, m, d) with n ≤ m and H a multiple "
            f"of G; got {describe(q)}, {describe(k)} and {describe(v)}"
        )
    grouped = q.reshape(b, groups, heads // groups * n, d)
    scores = (grouped @ k.mT / math.sqrt(d)).view(b, heads, n, m)
    places = torch.arange(m, device=q.device)
    hidden = places > places[m - n :, None]
    p = scores.masked_fill(hidden, -math.inf).softmax(-1)
    return (p.view(b, groups, -1, m) @ v).view(b, heads, n, d)


class Layer(nn.Module):
    """x + attention(norm(x)), then x + W₂ silu(W₁ norm(x)); no biases."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        inner = width // heads * kv_heads
        self.before_attention = nn.RMSNorm(width, eps=1e-6)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.RMSNorm(width, eps=1e-6)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, number: int, cache: Cache | None) -> Tensor:
        y = self.before_attention(x)
        q = split(self.query(y), self.heads)
        k = split(self.key(y), self.kv_heads)
        v = split(self.value(y), self.kv_heads)
        if cache is not None:
            k, v = cache.append(number, k, v)
        x = x + self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(silu(self.up(self.before_mlp(x))))


def split(x: Tensor, heads: int) -> Tensor:
    """(B, n, heads · d) to (B, heads, n, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Decoder(nn.Module):
    """A decoder-only transformer over tokens 0, …, vocabulary − 1.

    x = E[token] + P[position]; `layers` times attention and perceptron, each added to
    its input behind a norm (root mean square); logits = W norm(x). The position of a
    token counts from the beginning of the text, so with a cache it starts at
    ``cache.length`` (Vaswani et al. 2017, in the form without an encoder).

    width: d, a multiple of heads. kv_heads: G, a divisor of heads: H for multi-head
    (the default), 1 for multi-query (Shazeer 2019), between them grouped-query
    attention. context: the longest text. seed: of the starting weights, float32.
    Raises TypeError and ValueError for bad arguments, there and at the call.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        kv_heads: int | None = None,
        context: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vocabulary = check_count(vocabulary, name="vocabulary", least=2)
        self.width = check_count(width, name="width")
        self.heads = check_count(heads, name="heads")
        kv_heads = heads if kv_heads is None else kv_heads
        self.kv_heads = check_count(kv_heads, name="kv_heads")
        self.context = check_count(context, name="context")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got {width}, {heads}")
        if heads % kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads; got {heads} and {kv_heads}"
            )
        with seeded(seed):
            self.token = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(context, width)
            self.layers = nn.ModuleList(
                Layer(width, heads, kv_heads)
                for _ in range(check_count(layers, name="layers"))
            )
            self.last = nn.RMSNorm(width, eps=1e-6)
            self.logits = nn.Linear(width, vocabulary, bias=False)

    def cache(self, batch: int = 1, capacity: int | None = None) -> Cache:
        """An empty cache for `batch` texts of at most `capacity` tokens (context)."""
        capacity = self.context if capacity is None else capacity
        capacity = check_count(capacity, name="capacity")
        if capacity > self.context:
            raise ValueError(
                f"capacity must be at most the context, {self.context}; got {capacity}"
            )
        batch = check_count(batch, name="batch")
        d = self.width // self.heads
        shape = (len(self.layers), batch, self.kv_heads, capacity, d)
        weight = self.token.weight
        return Cache(weight.new_zeros(shape), weight.new_zeros(shape))

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, n, vocabulary) of what follows each of tokens (B, n), n ≥ 1.

        With a cache the tokens are those that come after the cached ones, and are
        added to it. Raises ValueError for tokens outside of the vocabulary, for a
        text longer than the context, and for a cache that is full or was made for
        another batch or network; the cache is then as it was.
        """
        tokens = self._checked(tokens)
        n, start = tokens.shape[1], 0
        if cache is not None:
            self._check_cache(cache, len(tokens))
            start = cache.length
        if start + n > self.context:
            raise ValueError(
                f"tokens: the context has {self.context} positions; got {n} after "
                f"{start}"
            )
        places = torch.arange(start, start + n, device=tokens.device)
        x = self.token(tokens) + self.position(places)
        for number, layer in enumerate(self.layers):
            x = layer(x, number, cache)
        if cache is not None:
            cache.advance(n)
        return self.logits(self.last(x))

    def _checked(self, tokens: Tensor) -> Tensor:
        if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64:
            raise TypeError(f"tokens must be an int64 tensor; got {describe(tokens)}")
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(
                f"tokens must be (B, n), neither zero; got {tuple(tokens.shape)}"
            )
        low, high = int(tokens.min()), int(tokens.max())
        if not 0 <= low <= high < self.vocabulary:
            raise ValueError(
                f"tokens must lie from 0 to {self.vocabulary - 1}; got {low} to {high}"
            )
        return tokens

    def _check_cache(self, cache: Cache, batch: int) -> None:
        d = self.width // self.heads
        wanted = (len(self.layers), batch, self.kv_heads, cache.capacity, d)
        if cache.keys.shape != wanted:
            raise ValueError(
                f"cache must be (layers, B, G, capacity, d_head) = {wanted}, made by "
                f"this network's cache(batch={batch}); got {tuple(cache.keys.shape)}"
            )


@torch.no_grad()
def generate(
    net: Decoder,
    prompt: Tensor,
    n: int,
    *,
    cached: bool = True,
    chunk: int | None = None,
    temperature: float = 0.0,
    generator: Generator | None = None,
) -> Tensor:
    """Continue prompt (B, p) by n tokens, one at a time; (B, p + n).

    temperature 0 takes the most likely token; T > 0 draws from softmax(logits/T) by
    the generator. With `cached` the prompt is read once (in chunks of at most `chunk`
    tokens), and each step reads the one new token; without, each step reads the whole
    text again. Both give the same text. Raises ValueError where p + n − 1 tokens are
    more than the context, for a chunk without a cache, and for a temperature below 0
    or above 0 without a generator.
    """
    n = check_count(n, name="n")
    length = prompt.shape[-1]
    if length + n - 1 > net.context:
        raise ValueError(
            f"n: {n} tokens after a prompt of {length} need a context of "
            f"{length + n - 1}; got {net.context}"
        )
    if temperature < 0 or not math.isfinite(temperature):
        raise ValueError(f"temperature must be at least 0; got {temperature}")
    if temperature:
        generator = check_generator(generator)
    if chunk is not None and not cached:
        raise ValueError("chunk: without a cache nothing is read in chunks; got both")
    size = length if chunk is None else check_count(chunk, name="chunk")
    cache = net.cache(len(prompt), length + n - 1) if cached else None
    text, new = prompt, prompt
    for _ in range(n):
        parts = new.split(size, dim=1) if cached else (text,)
        logits = [net(part, cache) for part in parts][-1][:, -1]
        if temperature:
            p = (logits / temperature).softmax(-1)
            new = torch.multinomial(p, 1, generator=generator)
        else:
            new = logits.argmax(-1, keepdim=True)
        text = torch.cat([text, new], dim=1)
    return text
