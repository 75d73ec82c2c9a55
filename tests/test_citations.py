"""Every solver says what to cite for it."""

import re
from pathlib import Path

import pytest

import dode
from dode.citations import PAPER, bibliography
from dode.distillation.formulations import FORMULATIONS
from dode.method import Method

KEYS = {label: re.search(r"\{(\w+),", entry)[1] for label, entry in bibliography().items()}


def keys(name):
    return re.findall(r"^@\w+\{(\w+),", dode.cite(name), re.M)


@pytest.mark.parametrize("name", dode.METHODS)
def test_every_solver_has_a_source_and_its_distilled_form_the_paper_first(name):
    assert keys(name)
    assert keys(f"d-{name}") == [KEYS[PAPER], *keys(name)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ddim", ["song2021ddim"]),
        ("dpm-solver-1", ["song2021ddim", "lu2022dpmsolver"]),
        ("d-dpm-solver-3", ["kim2024dode", "lu2022dpmsolver"]),
        ("dpm-solver++3s:inner=time", ["lu2025dpmsolverpp"]),
        ("ipndm-3", ["zhang2023deis", "liu2022pndm"]),
        ("ddim:eta=1", ["song2021ddim", "ho2020ddpm"]),
        ("ddim:fresh=1", ["song2021ddim", "song2023consistency"]),
        ("d-ddim:formulation=la", ["kim2024dode", "song2021ddim", "zhang2023lookahead"]),
        ("edm:churn=40", ["karras2022edm"]),
    ],
)
def test_known_citations(name, expected):
    assert keys(name) == expected


def test_auto_cites_what_it_begins_with():
    from dode.search.initial_candidates import TRIED

    assert keys("auto")[0] == KEYS[PAPER]
    assert set(keys("auto")[1:]) == {key for name in TRIED for key in keys(name)}


def test_the_bibliography_holds_what_is_cited_and_no_more():
    names = [*dode.METHODS, "ddim:eta=1", "ddim:fresh=1", *(f"d-ddim:formulation={name}" for name in FORMULATIONS)]
    assert {key for name in names for key in keys(name)} | {KEYS[PAPER]} == set(KEYS.values())
    assert (Path(dode.__file__).parent / "sources.bib").read_text().count("\n@") == len(KEYS)


def test_the_citation_file_names_the_same_paper():
    title = re.search(r"title = \{(.*)\}", bibliography()[PAPER])[1].replace("{", "").replace("}", "")
    assert title in (Path(__file__).parent.parent / "CITATION.cff").read_text()


def test_a_solver_of_ones_own_is_not_given_to_somebody_else(monkeypatch):
    monkeypatch.setitem(dode.METHODS, "ralston", Method("ralston", None, ("noise",), 1, 2, "Ralston 1962"))
    with pytest.raises(ValueError, match="names as its source 'Ralston 1962'"):
        dode.cite("d-ralston")
    with pytest.raises(ValueError, match="unknown method"):
        dode.cite("dddim")
