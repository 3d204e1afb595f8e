"""What the start-up path needs of `typing`, without importing it: that costs a fifth of a whole connect.

Used as

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import Any, NamedTuple
    else:
        from pync.lean import NamedTuple

together with `from __future__ import annotations`, so that type checkers see the real thing and annotations
are never evaluated.
"""

from __future__ import annotations

from operator import itemgetter


class _Fields(type):
    """Makes the annotated names of a class body the fields of a tuple."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        annotations = body.get("__annotations__")
        fields = tuple(annotations) if isinstance(annotations, dict) else ()
        defaults = {field: body.pop(field) for field in fields if field in body}
        for index, field in enumerate(fields):
            body[field] = property(itemgetter(index))
        body.update(__slots__=(), _fields=fields, _field_defaults=defaults, __match_args__=fields)
        return type(name, (_Record,), body)


class _Record(tuple):  # type: ignore[type-arg]
    """A tuple whose items have names, as `collections.namedtuple` makes them, but without compiling code."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _field_defaults: dict[str, object] = {}  # read only, each subclass has its own

    def __new__(cls, *values: object, **named: object) -> _Record:  # noqa: PYI034 (Self is in typing)
        fields = cls._fields
        if len(values) == len(fields) and not named:
            return tuple.__new__(cls, values)
        if len(values) > len(fields):
            raise TypeError(f"{cls.__name__} has {len(fields)} fields, {len(values)} were given")
        defaults = cls._field_defaults
        rest = []
        for field in fields[len(values) :]:
            if field in named:
                rest.append(named.pop(field))
            elif field in defaults:
                rest.append(defaults[field])
            else:
                raise TypeError(f"{cls.__name__} needs {field!r}")
        if named:
            raise TypeError(f"{cls.__name__} has no field {next(iter(named))!r}, or has it twice")
        return tuple.__new__(cls, (*values, *rest))

    def _replace(self, **named: object) -> _Record:
        """A copy with some fields changed."""
        values = [named.pop(field, value) for field, value in zip(self._fields, self, strict=True)]
        if named:
            raise TypeError(f"{type(self).__name__} has no field {next(iter(named))!r}")
        return tuple.__new__(type(self), values)

    def _asdict(self) -> dict[str, object]:
        """Names and values."""
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        items = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({items})"

    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self)


class NamedTuple(metaclass=_Fields):
    """The base to write; what comes out is a tuple."""


Protocol = object
