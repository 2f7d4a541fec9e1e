"""Which accesses of a program race, from first principles.

The oracle walks a program with a set of accesses for each thread, those that happen
before its next one, and compares each access with all others of its bytes: no
clocks, no last few accesses.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import race_programs as rp

# What races an earlier access of the same byte, by kind: atomics and volatile
# accesses do not race each other, and loads race no loads.
RACES = {
    rp.LOAD: (rp.STORE, rp.VSTORE, rp.ATOMIC),
    rp.STORE: (rp.LOAD, rp.STORE, rp.VLOAD, rp.VSTORE, rp.ATOMIC),
    rp.VLOAD: (rp.STORE,),
    rp.VSTORE: (rp.LOAD, rp.STORE),
    rp.ATOMIC: (rp.LOAD, rp.STORE),
}
Place = tuple[int, int, int]  # space, block or 0, byte


class Truth:
    """All accesses of a program, and for each the set of those that race it.

    Sets are the bits of integers. A release publishes what its thread did before
    its fence and what it has seen others do; knows[b] is what any thread of block
    b has learnt so from other blocks, tellers[b] the threads that told it.
    """

    def __init__(self, p: rp.Program, ticket: np.ndarray) -> None:
        self.p, self.ticket, n = p, ticket, p.grid * p.block
        self.index: dict[Place, int] = {}  # of the access by row, block, thread
        self.bytes: list[set[Place]] = []
        self.races: list[int] = []
        self.touched: dict[tuple[Place, int], int] = defaultdict(int)
        # By thread: its accesses, those of others that happen before its next one,
        # what its last fence since a barrier covers, for its block and for others.
        self.own, self.seen, self.at = [0] * n, [0] * n, [0] * n
        self.fenced: list[tuple[int | None, int | None]] = [(None, None)] * n
        self.bare = [False] * n  # has stored since its last fence
        self.shown: list[int | None] = [None] * p.grid
        self.count: dict[Place, int] = defaultdict(int)
        self.flags: dict[tuple[Place, int], int] = defaultdict(int)
        self.told: dict[Place, set[tuple[int, int]]] = defaultdict(set)
        self.knows = [0] * p.grid
        self.tellers: list[set[tuple[int, int]]] = [set() for _ in range(p.grid)]
        steps = -1
        while sum(self.at) > steps:  # in any order that the program allows
            steps = sum(self.at)
            for i in range(n):
                while self.at[i] < len(p.rows) and self.step(i):
                    pass
        assert steps == n * len(p.rows)
        for i, others in enumerate(self.races):
            for j in bits(others):
                self.races[j] |= 1 << i

    def step(self, i: int) -> bool:
        """Let thread i go on. False when it has to wait."""
        k, (b, t) = self.at[i], divmod(i, self.p.block)
        row, key = self.p.rows[k], (self.p.rows[k].space, 0, self.p.rows[k].at)
        if row.space < 2:
            key = (row.space, b, row.at)
        meets = row.op == rp.SYNC or (
            row.op == rp.WARP and row.warp in (-1, t // 32) and row.mask >> t % 32 & 1
        )
        if meets:
            return self.meet(i, row, b, t)
        if row.op not in (rp.WARP, rp.SHUFFLE) and row.takes(b, t):
            if row.op == rp.WAIT and not self.count[key]:
                return False
            if row.op == rp.COUNT and self.count[key] != self.ticket[k, b, t]:
                return False
            if row.op <= rp.ATOMIC:
                self.access(i, row, b, t)
            elif row.op in (rp.FENCE, rp.FENCE_BLOCK):
                now, device = self.own[i] | self.seen[i], row.op == rp.FENCE
                self.fenced[i] = now, now if device else self.fenced[i][1]
                self.bare[i] &= not device
            else:
                self.flag(i, row, key, b, t)
        self.at[i] += 1
        return True

    def meet(self, i: int, row: rp.Row, b: int, t: int) -> bool:
        first = b * self.p.block
        group = list(range(first, first + self.p.block))
        if row.op == rp.WARP:
            group = [
                j
                for j in group[t // 32 * 32 :][:32]
                if row.mask >> (j - first) % 32 & 1
            ]
        if any(self.at[j] != self.at[i] for j in group):
            return False
        union = 0
        for j in group:
            union |= self.own[j] | self.seen[j]
        if row.op == rp.SYNC and not any(self.bare[j] for j in group):
            self.shown[b] = union
        for j in group:
            self.seen[j] = union
            self.at[j] += 1
            if row.op == rp.SYNC:
                self.fenced[j] = (None, None)
        return True

    def access(self, i: int, row: rp.Row, b: int, t: int) -> None:
        e, start = len(self.races), row.at + row.stride * (t % 8)
        where = 0 if row.space == 2 else b
        places = {(row.space, where, start + n) for n in range(row.size)}
        others = 0
        for place in places:
            for kind in RACES[row.op]:
                others |= self.touched[place, kind]
            self.touched[place, row.op] |= 1 << e
        self.races.append(others & ~(self.own[i] | self.seen[i]))
        self.bytes.append(places)
        self.index[self.at[i], b, t] = e
        self.own[i] |= 1 << e
        self.bare[i] |= row.op == rp.STORE and row.space == 2

    def flag(self, i: int, row: rp.Row, key: Place, b: int, t: int) -> None:
        self.count[key] += row.op != rp.WAIT
        was = self.seen[i]  # what it learns here it publishes next time
        if row.op != rp.SET:
            self.seen[i] |= self.flags[key, b] | self.flags[key, -1]
            self.knows[b] |= self.flags[key, -1]
            self.tellers[b] |= self.told[key]
        if row.op == rp.COUNT:
            self.bare[i] = True  # the ticket is stored behind the fence
        if row.op == rp.WAIT:
            return  # an atomic that looks releases, too, but who looks when?
        inside, outside = self.fenced[i]
        if inside is not None:
            self.flags[key, b] |= inside | was
        if row.space != 2:
            return
        if outside is not None:
            self.flags[key, -1] |= outside | was
            self.told[key] |= {(b, t)} | self.tellers[b]
        elif (shown := self.shown[b]) is not None:
            self.flags[key, -1] |= shown
            self.told[key] |= self.tellers[b]

    def excused(self, i: int, j: int) -> bool:
        """May the detector take i and j for ordered, as releases.cpp rounds up?

        What one thread of a block has learnt from others the whole block knows, and
        where two of its threads have told it, it knows all of their block.
        """
        owner = {e: (b, t) for (_, b, t), e in self.index.items()}
        for x, y in ((i, j), (j, i)):
            b, other = owner[y][0], owner[x][0]
            heard, new = {b}, {b}
            while new:  # and what those knew that told it
                new = {a for c in heard for a, _ in self.tellers[c]} - heard
                heard |= new
            tellers = set().union(*(self.tellers[c] for c in heard))
            known = 0
            for c in heard:
                known |= self.knows[c]
            twice = len({t for a, t in tellers if a == other}) > 1
            if b != other and (known >> x & 1 or twice):
                return True
        return False


def bits(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]
