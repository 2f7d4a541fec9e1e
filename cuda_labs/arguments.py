"""Check a launch's arguments against the kernel's parameters, by position.

A GPU believes what it is told: eight bytes where a kernel reads four, or
float64 where it reads float32, end in wrong numbers without a word. Here each
argument must have exactly the type that the parameter has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_NAMES = {
    ("i", 1): "signed char",
    ("i", 2): "short",
    ("i", 4): "int",
    ("i", 8): "long long",
    ("u", 1): "unsigned char",
    ("u", 2): "unsigned short",
    ("u", 4): "unsigned int",
    ("u", 8): "unsigned long long",
    ("f", 4): "float",
    ("f", 8): "double",
    ("b", 1): "bool",
    ("c", 1): "char",
    ("h", 2): "__half",
    ("B", 2): "__nv_bfloat16",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as the compiler deduced it.

    pointer: T* or a value; base: b(ool) c(har) i(nt) u(nsigned) f(loat) h(alf)
    B(float16) v(oid) s(truct); width: bytes of a base element; lanes: elements
    of a vector type; size: bytes of the pointee or of the value.
    """

    pointer: bool
    base: str
    constant: bool
    width: int
    lanes: int
    size: int

    @property
    def type_name(self) -> str:
        """The type as CUDA C writes it, near enough to recognise."""
        if self.base == "v":
            name = "void"
        elif self.base == "s":
            name = f"struct of {self.size} bytes"
        else:
            name = _NAMES[self.base, self.width]
            if self.lanes > 1:
                short = {"unsigned int": "uint", "signed char": "char"}
                name = f"{short.get(name, name)}{self.lanes}".replace(" ", "")
        return f"{'const ' if self.constant else ''}{name}{'*' if self.pointer else ''}"

    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """The dtypes whose elements are this base type; empty: any."""
        if self.base in "iuf":
            plain = np.dtype(f"{self.base}{self.width}")
            if self.base == "f" and self.lanes == 2:
                return plain, np.dtype(f"c{2 * self.width}")
            return (plain,)
        table = {
            "b": (np.dtype(np.bool_),),
            "c": (np.dtype(np.int8), np.dtype(np.uint8), np.dtype("S1")),
            "h": (np.dtype(np.float16), np.dtype(np.uint16)),
            "B": (np.dtype(np.uint16),),
        }
        return table.get(self.base, ())


def check(parameters: tuple[Parameter, ...], args: tuple[Any, ...]) -> None:
    """Raise TypeError or ValueError unless `args` fit `parameters`."""
    if len(args) != len(parameters):
        listed = ", ".join(p.type_name for p in parameters)
        raise TypeError(
            f"args: {len(args)} arguments for {len(parameters)} parameters ({listed})"
        )
    for position, (parameter, value) in enumerate(
        zip(parameters, args, strict=True), start=1
    ):
        where = f"parameter {position} ({parameter.type_name})"
        if parameter.pointer:
            _check_array(where, parameter, value)
        else:
            _check_value(where, parameter, value)


def check_sizes(sizes: tuple[int, ...], args: tuple[Any, ...]) -> None:
    """Raise TypeError unless each of `args` has the bytes of its parameter.

    All that can be told where the parameters' types are unknown. CuPy sends a
    Python int or float as 8 bytes, whatever the kernel reads.
    """
    if len(args) != len(sizes):
        raise TypeError(f"args: {len(args)} arguments for {len(sizes)} parameters")
    for position, (size, value) in enumerate(zip(sizes, args, strict=True), start=1):
        found = int(getattr(value, "nbytes", 16 if type(value) is complex else 8))
        if is_device_array(value):
            found = 8  # its address
        if found != size:
            raise TypeError(
                f"parameter {position} ({size} bytes): pass a NumPy scalar of that "
                f"size, got {type(value).__name__} of {found} bytes"
            )


def value_bytes(parameter: Parameter, value: Any) -> bytes:
    """The bytes of a checked value argument."""
    if isinstance(value, (bool, int, float, complex)) and not isinstance(
        value, np.generic
    ):
        value = np.array(value, dtype=parameter.dtypes()[-1 if _complex(value) else 0])
    return np.asarray(value).tobytes()


def expect_array(name: str, value: Any, axes: int | None = None) -> None:
    """Raise TypeError or ValueError unless `value` is an array with elements.

    axes: how many dimensions it must have; None: any number.
    """
    if not isinstance(value, np.ndarray) and not is_device_array(value):
        raise TypeError(
            f"{name}: a NumPy or CuPy array is needed, got {type(value).__name__}"
        )
    if axes is not None and value.ndim != axes:
        kind = {1: "a vector", 2: "a matrix"}.get(axes, f"{axes} dimensions")
        raise ValueError(f"{name}: {kind} is needed, got shape {value.shape}")
    if 0 in value.shape:
        raise ValueError(f"{name}: no size may be 0, got shape {value.shape}")


def is_device_array(value: Any) -> bool:
    """Whether `value` lives in a GPU's memory."""
    return hasattr(value, "__cuda_array_interface__")


def _complex(value: Any) -> bool:
    return isinstance(value, complex)


def _check_array(where: str, parameter: Parameter, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, np.ndarray) and not is_device_array(value):
        raise TypeError(f"{where}: an array is needed, got {type(value).__name__}")
    dtype = np.dtype(value.dtype)
    if not dtype.isnative or dtype.hasobject:
        raise TypeError(f"{where}: dtype {dtype} cannot be passed to a kernel")
    allowed = parameter.dtypes()
    if parameter.base == "s":
        if dtype.itemsize != parameter.size and dtype != np.uint8:
            raise TypeError(
                f"{where}: dtype {dtype} has {dtype.itemsize} bytes an element; "
                "pass a structured dtype of that size, or uint8"
            )
    elif allowed and dtype not in allowed and str(dtype) != _extra(parameter):
        names = " or ".join(str(d) for d in allowed)
        raise TypeError(f"{where}: an array of {names} is needed, got {dtype}")
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{where}: the array is not contiguous; pass np.ascontiguousarray(...)"
        )
    if parameter.base != "v" and value.nbytes % parameter.size:
        raise ValueError(
            f"{where}: {value.nbytes} bytes are no multiple of {parameter.size}"
        )
    writeable = getattr(value.flags, "writeable", True)
    if not parameter.constant and not writeable:
        raise ValueError(f"{where}: the array is read-only")


def _extra(parameter: Parameter) -> str:
    """ml_dtypes' name of the type, should the caller use that package."""
    return "bfloat16" if parameter.base == "B" else ""


def _check_value(where: str, parameter: Parameter, value: Any) -> None:
    if (isinstance(value, np.ndarray) and value.ndim > 0) or is_device_array(value):
        hint = _hint(parameter)
        raise TypeError(f"{where}: a value is needed, got an array; {hint}")
    if isinstance(value, (np.generic, np.ndarray)):
        _check_scalar(where, parameter, np.dtype(value.dtype))
        return
    kind = type(value)
    wide = parameter.width == 8 and parameter.lanes == 1
    fits = (
        (kind is bool and parameter.base == "b")
        or (kind is int and parameter.base in "iu" and wide)
        or (kind is float and parameter.base == "f" and wide)
        or (kind is complex and parameter.size == 16 and parameter.base == "f")
    )
    if not fits:
        hint = _hint(parameter)
        raise TypeError(f"{where}: {hint}, got {kind.__name__} {value!r}")
    if kind is int:
        limits = np.iinfo(np.dtype(f"{parameter.base}8"))
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{where}: {value} does not fit")


def _check_scalar(where: str, parameter: Parameter, dtype: np.dtype[Any]) -> None:
    if parameter.base == "s" or parameter.lanes > 1:
        if dtype.itemsize != parameter.size:
            raise TypeError(
                f"{where}: {dtype} has {dtype.itemsize} bytes, "
                f"{parameter.size} are needed"
            )
        return
    allowed = parameter.dtypes()
    if dtype not in allowed and str(dtype) != _extra(parameter):
        names = " or ".join(f"np.{d.name}" for d in allowed)
        raise TypeError(f"{where}: pass {names}, got np.{dtype.name}")


def _hint(parameter: Parameter) -> str:
    if parameter.base == "s":
        return f"pass a NumPy scalar of {parameter.size} bytes"
    if parameter.lanes > 1:
        zeros = ", ".join("0" * parameter.lanes)
        kind = {"c": "i1", "h": "f2", "B": "u2"}.get(
            parameter.base, f"{parameter.base}{parameter.width}"
        )
        types = ",".join([kind] * parameter.lanes)
        return (
            f"pass a NumPy scalar of {parameter.size} bytes, "
            f"such as np.array(({zeros}), '{types}')[()]"
        )
    name = parameter.dtypes()[0].name.replace("bool", "bool_")
    return f"pass np.{name}(...)"
