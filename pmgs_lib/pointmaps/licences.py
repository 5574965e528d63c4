"""Licences of weights that are not ours: shown before anything is fetched, and accepted by a person, not by default."""

import logging
import os

from pydantic import Field

from pmgs_lib.data.config import Config
from pmgs_lib.errors import ParameterError

ACCEPTED_VARIABLE = "PMGS_ACCEPT_LICENCES"
logger = logging.getLogger(__name__)


class Licence(Config):
    """name: short, without spaces. terms: what it allows. address: where it stands. confirmed: what was looked up."""

    name: str = Field(pattern=r"^[A-Za-z0-9.-]+$")
    terms: str
    address: str
    confirmed: str


NONCOMMERCIAL = "research and other non-commercial use only"
README = "the authors' README of July 2025 says that the original checkpoint remains non-commercial"

# Name of the weights -> their licence. What upstream's own pages say stands above this table.
LICENCES = {
    "vggt-1b": Licence(
        name="CC-BY-NC-4.0",
        terms=NONCOMMERCIAL,
        address="https://huggingface.co/facebook/VGGT-1B",
        confirmed=f"{README}; the licence's name is that of their demo, its text could not be opened: read it there",
    ),
    "vggt-1b-commercial": Licence(
        name="VGGT-License",
        terms="commercial use allowed, military use excluded; access is granted on application",
        address="https://huggingface.co/facebook/VGGT-1B-Commercial",
        confirmed="by the same README; the weights themselves could not be looked at",
    ),
    "depth-anything/DA3-LARGE": Licence(
        name="CC-BY-NC-4.0",
        terms=NONCOMMERCIAL,
        address="https://huggingface.co/depth-anything/DA3-LARGE",
        confirmed="by the authors' table of models",
    ),
    "depth-anything/DA3-GIANT": Licence(
        name="CC-BY-NC-4.0",
        terms=NONCOMMERCIAL,
        address="https://huggingface.co/depth-anything/DA3-GIANT",
        confirmed="by the authors' table of models",
    ),
    "depth-anything/DA3NESTED-GIANT-LARGE": Licence(
        name="CC-BY-NC-4.0",
        terms=NONCOMMERCIAL,
        address="https://huggingface.co/depth-anything/DA3NESTED-GIANT-LARGE",
        confirmed="by the authors' table of models",
    ),
    "depth-anything/DA3-BASE": Licence(
        name="Apache-2.0",
        terms="any use",
        address="https://huggingface.co/depth-anything/DA3-BASE",
        confirmed="by the authors' table of models",
    ),
    "depth-anything/DA3-SMALL": Licence(
        name="Apache-2.0",
        terms="any use",
        address="https://huggingface.co/depth-anything/DA3-SMALL",
        confirmed="by the authors' table of models",
    ),
}


def licence_notice(weights: str) -> str:
    """What is known of the licence of those weights, in one sentence to show to a person.

    >>> licence_notice("vggt-1b").startswith("vggt-1b: weights under CC-BY-NC-4.0 (research")
    True
    """
    if weights not in LICENCES:
        return f"{weights}: its licence is not known here; whoever made the file knows it"
    licence = LICENCES[weights]
    return (
        f"{weights}: weights under {licence.name} ({licence.terms}), see {licence.address}; "
        f"confirmed: {licence.confirmed}"
    )


def require_licence(weights: str, accepted: bool) -> None:
    """Show the licence, or raise `ParameterError` where it was not accepted by argument or environment variable."""
    if weights not in LICENCES:
        logger.info("%s", licence_notice(weights))
        return
    name = LICENCES[weights].name
    in_environment = {part.strip().lower() for part in os.environ.get(ACCEPTED_VARIABLE, "").split(",")}
    if not accepted and name.lower() not in in_environment:
        raise ParameterError(
            f"{licence_notice(weights)}. Nothing was fetched: read the licence, then pass accept_licence=True or set "
            f"{ACCEPTED_VARIABLE}={name}"
        )
    logger.warning("%s", licence_notice(weights))
