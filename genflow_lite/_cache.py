"""Keys and values that a decoder need not compute again."""

from torch import Tensor

from genflow_lite._shapes import describe


class Cache:
    """Keys and values of the tokens seen so far, for every layer.

    keys, values: (layers, B, G, capacity, d_head), of which the first `length` places
    along the fourth axis are filled. G is the number of key/value heads. Made by
    `Decoder.cache`; one cache belongs to one batch of texts.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        if keys.ndim != 5 or keys.shape != values.shape:
            raise ValueError(
                "keys and values must both be (layers, B, G, capacity, d_head); "
                f"got {describe(keys)} and {describe(values)}"
            )
        self.keys, self.values, self.length = keys, values, 0

    @property
    def capacity(self) -> int:
        """How many tokens have a place."""
        return self.keys.shape[3]

    @property
    def bytes_a_token(self) -> int:
        """2 · layers · B · G · d_head · bytes of a number (B = 1: of one text)."""
        one = self.keys[:, :, :, :1]
        return 2 * one.numel() * one.element_size()

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k, v (B, G, n, d_head) behind what is there; all keys and values.

        Returns views (B, G, length + n, d_head). `length` itself moves when
        `advance` is called, once for all layers. Raises ValueError, and writes
        nothing, where there is no place for n more.
        """
        end = self.length + self.fits(k.shape[2])
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def fits(self, n: int) -> int:
        """n, if there is a place for n more tokens; else ValueError."""
        if self.length + n > self.capacity:
            raise ValueError(
                f"tokens: {n} more do not fit into a cache that holds {self.length} "
                f"of at most {self.capacity}"
            )
        return n

    def advance(self, n: int) -> None:
        """n more tokens count as seen, in every layer."""
        self.length += self.fits(n)
