"""The pages of the API have every public name once, in the module that defines it."""

import importlib
import pkgutil
import re
from types import SimpleNamespace

import pytest
from extension import api

import lawlib
from lawlib import compress, types
from lawlib.descent import rates


@pytest.fixture(scope="module")
def modules():
    return api.modules(SimpleNamespace(lawlib_modules="all"))


@pytest.fixture(scope="module")
def known(modules):
    return {name: name for module in modules for name in api.documented(module)}


def entries(text):
    return re.findall(r"^\.\. (?:autofunction|autoclass|py:data|py:type):: (\S+)", text, re.MULTILINE)


def test_every_module_and_package_has_a_page(modules):
    names = {module.__name__ for module in modules}
    found = {module.name for module in pkgutil.walk_packages(lawlib.__path__, "lawlib.")}
    assert found <= names
    assert "experiments.runs" in names


def test_every_public_name_is_on_one_page(modules, known):
    shown = [
        name if "." in name else f"{module.__name__}.{name}"
        for module in modules
        for name in entries(api.page(module, known))
    ]
    assert len(shown) == len(set(shown))
    for module in pkgutil.walk_packages(lawlib.__path__, "lawlib."):
        if not module.ispkg:
            own = importlib.import_module(module.name)
            assert {f"{module.name}.{name}" for name in own.__all__} <= set(shown)


def test_the_front_door_leads_to_the_home_of_every_name(modules, known):
    text = api.index(modules, known)
    for name in (name for name in dir(lawlib) if not name.startswith("_")):
        assert re.search(rf"^\* ``lawlib\.{name}``: :py:(?:obj|mod):`lawlib\.\S+`$", text, re.MULTILINE), name


def test_a_package_links_to_what_it_gathers(known):
    assert "* ``reduce``: :py:obj:`lawlib.compress.deep_linear.reduce`" in api.page(compress, known)


def test_an_alias_has_its_value_and_the_comment_above_it(known):
    text = api.page(types, known)
    assert ".. py:type:: Weights\n\n   (W\\_1, ..., W\\_L), W\\_l maps layer l-1 to layer l. A PyTree" in text
    assert "``PyTree[Float[Array, '_ _']]``" in text
    assert ".. py:type:: Float\n\n   Of ``jaxtyping``." in text


def test_a_constant_is_data(known):
    assert ".. py:data:: PARAMETRIZATIONS" in api.page(rates, known)
