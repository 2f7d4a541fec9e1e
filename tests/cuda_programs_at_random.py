"""Kernels at random: divergent branches, loops, jumps and calls around accesses."""

from __future__ import annotations

import copy
import random
from typing import Any

from cuda_blocks import Meet, Program
from cuda_flow import Call, Function, If, Jump, Loop, Switch
from cuda_lanes import SCALARS, START, VECTORS, WIDTH, Access, Test


class Maker:
    """A program for each seed; volatile: the share of scalar accesses that are."""

    def __init__(self, seed: int, size: int, volatile: float) -> None:
        self.r = random.Random(seed)
        self.left = size  # statements to come
        self.volatile = volatile
        self.block = self.r.choice([32, 45, 64, 96])
        self.grid = self.r.choice([1, 2, 3])
        self.functions: list[Function] = []
        self.counters = 0
        self.vars = ["t", "a"]
        self.inside = self.switch = self.may_return = False
        self.loops = 0  # that may be left

    def number(self) -> str:
        """Of an element: by lanes in a row, in strides, at random, or the same."""
        r = self.r
        i, n = r.choice(self.vars), r.randint(1, 70)
        return r.choice(
            [
                f"t * {r.randint(1, 9)} + {i} * {n}",
                f"t * {r.choice([1, 2, 4, 8, 32, 33])} + {r.randint(0, 3)}",
                f"(h >> {r.randint(0, 20)})",
                f"(h >> {r.randint(0, 9)}) % {n + 1} + t",
                f"g + {i} * 32 + {n}",
                f"{i} * {n} + {r.randint(0, 999)}",
                f"t + {i}",
            ]
        )

    def holds(self) -> str:
        r = self.r
        i, n = r.choice(self.vars), r.randint(2, 5)
        return r.choice(
            [
                f"t & {1 << r.randint(0, 4)}",
                f"(t + {i}) % {n} == {r.randint(0, n - 1)}",
                f"(h >> {r.randint(0, 15)}) % {n} < {r.randint(1, n)}",
                f"t < {r.randint(1, 64)}",
                f"{i} > (t & 3)",
                f"(t ^ {i}) & 2",
                f"{i} == {r.randint(0, 3)}",
                f"(h & 7) != {r.randint(0, 7)}",
            ]
        )

    def access(self, how: str = "") -> Access:
        r, e = self.r, self.number()
        how = how or r.choice(["load"] * 3 + ["store"] * 2 + ["sum", "atomic"])
        if how == "atomic":
            return Access(how, r.choice("AC"), "unsigned", f"({e}) & 63")
        array = r.choice("XSYZOQ" if how == "load" else "YZOQ")
        plain = how == "sum" or self.volatile == 1
        kind = r.choice([*SCALARS] if plain else [*SCALARS, *VECTORS])
        if array in "YO":
            kind = "unsigned"
        w = WIDTH[kind]
        at = {
            "X": f"({e}) & {4096 // w - 1}",
            "S": f"({e}) & {4096 // w - 1}",
            "Y": f"(({e}) & 7) * {self.block * self.grid} + g",
            "O": f"(({e}) & 3) * {self.block} + t",
            "Z": f"g * {64 // w} + (({e}) & {64 // w - 1})",
            "Q": f"t * {32 // w} + (({e}) & {32 // w - 1})",
        }[array]
        told = kind in SCALARS and r.random() < self.volatile
        return Access(how, array, kind, at, volatile=told)

    def condition(self) -> Test:
        x = self.r.random()
        pure = self.holds() if x < 0.85 else ""
        return Test(pure, None if x < 0.7 else self.access("load"))

    def some(self, depth: int, most: int = 4) -> list[Any]:
        body: list[Any] = []
        for _ in range(self.r.randint(1, most)):
            if not body or (self.left > 0 and not isinstance(body[-1], Jump)):
                body.append(self.statement(depth))
        return body

    def jump(self) -> list[Any]:
        ways = ["continue"] * (self.loops > 0)
        ways += ["break"] * (self.loops > 0 and not self.switch)
        ways += ["return"] * (self.inside or self.may_return)
        if not ways:
            return []
        how = self.r.choice(ways)
        stored = how == "return" and not self.inside
        return [Jump(how, Access("store", "H", "unsigned", "g") if stored else None)]

    def statement(self, depth: int) -> Any:
        r = self.r
        self.left -= 1
        x = r.random()
        if depth <= 0 or x < 0.4:
            return self.access()
        if x < 0.62:
            yes = self.some(depth - 1)
            no = self.some(depth - 1) if r.random() < 0.5 else []
            if r.random() < 0.3 and not isinstance(yes[-1], Jump):
                yes += self.jump()
            if no and r.random() < 0.15:
                no = copy.deepcopy(yes)  # arms that a compiler would make one
                return If(Test(self.holds()), yes, no)
            return If(self.condition(), yes, no)
        if x < 0.82:
            return self.loop(depth)
        if x < 0.9:
            self.switch, old = True, self.switch
            cases = [
                (self.some(depth - 1), r.random() < 0.5)
                for _ in "abcd"[: r.randint(2, 4)]
            ]
            self.switch = old
            return Switch(r.choice(["t % 5", "(h >> 2) & 3", "a & 3"]), cases)
        if self.inside:
            return self.access()
        if not self.functions or r.random() < 0.5:
            self.function()
        return Call(r.choice(self.functions), r.choice(["t & 3", "h & 3", "a + 1"]))

    def loop(self, depth: int) -> Loop:
        r = self.r
        self.counters += 1
        i = f"i{self.counters}"
        bound = [
            "3",
            f"{r.randint(1, 5)}",
            "(t & 3)",
            "1 + t % 4",
            "(h >> 3) % 5",
            "a + 1",
        ]
        form = r.choice(["for", "while", "do", "ever"])
        test = self.condition()
        old, self.vars = (self.vars, self.switch), [*self.vars, i]
        self.loops, self.switch = self.loops + 1, False
        body = self.some(depth - 1)
        self.loops -= 1
        self.vars, self.switch = old
        return Loop(form, i, r.choice(bound), test, body)

    def function(self) -> None:
        old = self.vars, self.loops, self.switch
        self.vars, self.loops, self.switch, self.inside = ["t", "a"], 0, False, True
        head = self.r.choice(["__noinline__ ", "__forceinline__ ", ""])
        made = Function(
            f"f{len(self.functions)}", "__device__ " + head, self.some(2, 3)
        )
        self.vars, self.loops, self.switch = old
        self.inside = False
        self.functions.append(made)

    def program(self) -> Program:
        body: list[Any] = []
        together = ["warp", "ballot", "block"] + ["xor"] * (self.block % 32 == 0)
        while self.left > 0:
            x = self.r.random()
            if x < 0.15:
                body.append(Meet(self.r.choice(together)))
            elif x < 0.25:  # a loop in which all lanes meet: none may leave it
                self.counters += 1
                i = f"i{self.counters}"
                self.vars.append(i)
                inner = [*self.some(2), Meet(self.r.choice(together)), *self.some(1)]
                self.vars.remove(i)
                rounds = str(self.r.randint(1, 3))
                body.append(Loop("for", i, rounds, Test("1"), inner))
            elif x < 0.32:
                part = self.holds().replace("h", "t")
                body.append(Meet("part", part, self.some(1)))
            else:
                body.append(self.statement(4))
        self.left, self.may_return = 8, True
        while self.left > 0:
            body.append(self.statement(3))
        start = self.r.randrange(len(START))
        return Program(self.functions, body, self.block, self.grid, start)


def program(seed: int, size: int = 40, volatile: float = 1.0) -> Program:
    """A kernel of about `size` statements."""
    return Maker(seed, size, volatile).program()
