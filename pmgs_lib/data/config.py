"""Configuration of this folder: frozen, complete, extra fields refused, faults told in one line."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pmgs_lib.errors import ParameterError, PmgsError

Built = TypeVar("Built", bound="Config")


class Config(BaseModel):
    """Frozen pydantic base."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def build(
        cls: type[Built], values: Mapping[str, Any], where: str, error: type[PmgsError] = ParameterError
    ) -> Built:
        """The configuration from plain values, or `error` naming `where` and the first field at fault."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as fault:
            first = fault.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "values"
            fields = ", ".join(cls.model_fields)
            raise error(f"{where}: {field}: {first['msg']} (fields: {fields}); correct it") from None
