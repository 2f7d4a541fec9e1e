"""Statements that steer a lane: conditions, loops, jumps and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuda_lanes import GIVES, TAKES, Access, Lane, Node, Run, Test, emit_all, run_all


@dataclass(eq=False)
class If(Node):
    test: Test
    yes: list[Any]
    no: list[Any]

    def emit(self, out: list[str]) -> None:
        self.test.emit(out, "if (", ") {")
        emit_all(self.yes, out)
        if self.no:
            out.append("} else {")
            emit_all(self.no, out)
        out.append("}")

    def run(self, lane: Lane) -> Run:
        arm = self.yes if self.test.holds(lane) else self.no
        how = yield from run_all(arm, lane)
        if not how:
            lane.at(self)  # where the arms meet
        return how


@dataclass(eq=False)
class Loop(Node):
    """`for`, `while`, `do` or `for (;;)`; `i` counts, and ends it in any case."""

    form: str
    i: str
    bound: str
    test: Test  # of one more round
    body: list[Any]

    def emit(self, out: list[str]) -> None:
        i, bound = self.i, f"{self.i} < {self.bound}"
        if self.form == "for":
            out.append(f"for (unsigned {i} = 0; {bound}; ++{i}) {{")
        elif self.form == "while":
            out.append(f"{{ unsigned {i} = 0;")
            self.test.emit(out, f"while ({bound} && (", f")) {{ ++{i};")
        elif self.form == "do":
            out.append(f"{{ unsigned {i} = 0; do {{")
        else:
            out.append(
                f"{{ unsigned {i} = 0; for (;;) {{ if (++{i} > {self.bound}) break;"
            )
        emit_all(self.body, out)
        if self.form == "do":
            self.test.emit(out, f"}} while (++{i} < {self.bound} && (", ")); }")
        else:
            out.append("}" if self.form == "for" else "} }")

    def run(self, lane: Lane) -> Run:
        outer, k = lane.loops, 0
        var = lane.var
        var[self.i] = 0
        while True:
            lane.loops = (*outer, (self, k))
            lane.at(self, k > 0)
            if self.form in ("for", "while") and not var[self.i] < lane.value(
                self.bound
            ):
                break
            if self.form == "while":
                if not self.test.holds(lane):
                    break
                var[self.i] += 1
            if self.form == "ever":
                var[self.i] += 1
                if var[self.i] > lane.value(self.bound):
                    break
            how = yield from run_all(self.body, lane)
            if how == "break":
                break
            if how == "return":
                lane.loops = outer
                return how
            if self.form == "for":
                var[self.i] += 1
            if self.form == "do":
                lane.at((self, "end"))
                var[self.i] += 1
                if not (var[self.i] < lane.value(self.bound) and self.test.holds(lane)):
                    break
            k += 1
        lane.loops = outer
        lane.at((self, "out"))
        return ""


@dataclass(eq=False)
class Switch(Node):
    """Cases 0, 1, ... and the default; those not ended by `break` fall through."""

    index: str
    cases: list[tuple[list[Any], bool]]

    def emit(self, out: list[str]) -> None:
        out.append(f"switch ({self.index}) {{")
        for n, (body, ends) in enumerate(self.cases):
            out.append(f"case {n}:" if n + 1 < len(self.cases) else "default:")
            emit_all(body, out)
            if ends:
                out.append("break;")
        out.append("}")

    def run(self, lane: Lane) -> Run:
        lane.at(self)
        first = min(lane.value(self.index), len(self.cases) - 1)
        for n, (body, ends) in enumerate(self.cases[first:]):
            lane.at((self, first + n))
            how = yield from run_all(body, lane)
            if how:
                return how
            if ends:
                break
        lane.at((self, "out"))
        return ""


@dataclass(eq=False)
class Jump(Node):
    """`break`, `continue` or `return`; a kernel's return stores h first."""

    how: str
    store: Access | None = None

    def emit(self, out: list[str]) -> None:
        if self.store:
            self.store.emit(out)
        out.append(
            "return;"
            if self.store
            else self.how + (" h;" if self.how == "return" else ";")
        )

    def run(self, lane: Lane) -> Run:
        if self.store:
            yield from self.store.run(lane)
        return self.how


@dataclass(eq=False)
class Function:
    name: str
    head: str
    body: list[Any]

    def __deepcopy__(self, memo: Any) -> Function:
        return self

    def emit(self, out: list[str]) -> None:
        out.append(f"{self.head} unsigned {self.name}({TAKES}) {{")
        emit_all(self.body, out)
        out.append("return h; }")


@dataclass(eq=False)
class Call(Node):
    """h becomes what the function makes of it; depth: of a recursion."""

    function: Function
    argument: str

    def emit(self, out: list[str]) -> None:
        self.write(out, f"h = {self.function.name}({GIVES.format(self.argument)});")

    def run(self, lane: Lane) -> Run:
        lane.at(self)
        var, calls, loops = lane.var, lane.calls, lane.loops
        inner = {"t": var["t"], "g": var["g"], "h": var["h"]}
        inner["a"] = lane.value(self.argument)
        lane.var, lane.calls, lane.loops = inner, (*calls, (self, loops)), ()
        lane.last = (self.function, "in")
        yield from run_all(self.function.body, lane)
        lane.var, lane.calls, lane.loops, lane.last = var, calls, loops, self
        var["h"] = inner["h"]
        return ""
