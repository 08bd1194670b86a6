"""The base of all sections of settings, and how the tree of sections is walked."""

import typing
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Union

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a setting of this type is, or that each entry of its list is; both may be null instead."""
    while (origin := typing.get_origin(annotation)) is not None:
        inner = [each for each in typing.get_args(annotation) if each is not type(None)]
        if origin not in (list, Annotated) and not (origin in (Union, UnionType) and len(inner) == 1):
            return None
        annotation = inner[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def setting_at(root: type[Section], location: Iterable[int | str]) -> tuple[int | str, ...]:
    """A location that pydantic reports, in the user's words: without the names of the kinds that a setting may have."""
    model: type[Section] | None = root
    setting: list[int | str] = []
    for key in location:
        if isinstance(key, int):
            setting.append(key)
        elif model is not None:
            setting.append(key)
            field = model.model_fields.get(key)
            model = section_of(field.annotation) if field else None
    return tuple(setting)


def names_at(root: type[Section], place: Iterable[int | str]) -> list[str]:
    """The names of the settings that may stand in the section at this place."""
    model = root
    for key in place:
        field = model.model_fields.get(str(key))
        model = (section_of(field.annotation) if field else None) or model
    return list(model.model_fields)


def described(root: type[Section], prefix: str = "") -> Iterable[tuple[str, str, str]]:
    """Every setting as (name, default, description); those of a list's entries as ``arms[].name``."""
    for name, field in root.model_fields.items():
        section = section_of(field.annotation)
        if section is not field.annotation:
            yield f"{prefix}{name}", str(None if field.is_required() else field.default), field.description or ""
        if section is not None:
            inner = f"{prefix}{name}." if section is field.annotation else f"{prefix}{name}[]."
            yield from described(section, inner)
