"""A process in which some packages are not installed: the beginning of a program, after which none can be found."""

BLOCKED = """
import importlib.abc, sys


class Blocked(importlib.abc.MetaPathFinder):
    names = set()

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


Blocked.names = {modules}
sys.meta_path.insert(0, Blocked())
"""


def without(*modules: str) -> str:
    """The beginning of a program: from then on every import of these modules fails."""
    return BLOCKED.format(modules=set(modules) or "set()")
