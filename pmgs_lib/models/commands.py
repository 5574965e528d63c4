"""What `pmgs models` says."""

from pmgs_lib.models.checkpoints import load_checkpoint
from pmgs_lib.models.zoo import named_entry, zoo_table


def models(name: str = "", /, *, fetch: bool = False) -> str:
    """The zoo: all models, or what is known of one.

    name: a model of the list, for its file, digest, settings, published numbers, licence and sources. --fetch: fetch
    and verify its file now, not at its first use.
    """
    if fetch:
        load_checkpoint(name)
    if name:
        return str(named_entry(name))
    table = zoo_table()[["size", "views", "trained on", "published", "released"]]
    return table.rename_axis(None).to_string(justify="left")
