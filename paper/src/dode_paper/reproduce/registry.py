"""All items by name."""

from dode.messages import unknown
from dode_paper.reproduce import (
    NAMES,
    fig1_fig5,
    fig2a,
    fig2b_fig2c,
    fig3_fig4,
    fig6_to_9,
    section2,
    section4,
    table1,
    table2,
    table3,
    trilemma,
)
from dode_paper.reproduce.experiment import Item

MADE = (
    table1.ITEM,
    table2.TABLE2A,
    table2.TABLE2B,
    table3.ITEM,
    fig1_fig5.FIG1,
    fig2a.ITEM,
    fig2b_fig2c.FIG2B,
    fig2b_fig2c.FIG2C,
    fig3_fig4.FIG3,
    fig3_fig4.FIG4,
    fig1_fig5.FIG5,
    fig6_to_9.FIG6,
    fig6_to_9.FIG7,
    fig6_to_9.FIG8,
    fig6_to_9.FIG9,
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
