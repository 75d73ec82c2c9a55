"""All items by name."""

from dode.reproduce import (
    NAMES,
    curves,
    fig2a,
    paths,
    pictures,
    searches,
    section2,
    section4,
    table1,
    table2,
    table3,
    trilemma,
)
from dode.reproduce.item import Item
from dode.spelling import unknown

MADE = (
    table1.ITEM,
    table2.TABLE2A,
    table2.TABLE2B,
    table3.ITEM,
    paths.FIG1,
    fig2a.ITEM,
    searches.FIG2B,
    searches.FIG2C,
    curves.FIG3,
    curves.FIG4,
    paths.FIG5,
    pictures.FIG6,
    pictures.FIG7,
    pictures.FIG8,
    pictures.FIG9,
    section2.ITEM,
    section4.ITEM,
    trilemma.ITEM,
)
ITEMS = {item.name: item for item in MADE}


def chosen(name: str) -> list[Item]:
    """The item of this name, several as "table1,fig3", or all; ValueError with what is near."""
    if name == "all":
        return list(MADE)
    found = []
    for part in name.split(","):
        if part not in ITEMS:
            raise unknown("item", part, [*NAMES, "all"])
        found.append(ITEMS[part])
    return found
