"""three.js, which the 3D view draws with: the copy that the installed trimesh package carries for its own viewer.

It is MIT-licensed and served as an ES module from where it lies: nothing of it is copied into this project, and nothing
is asked of another machine.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["three_module"]

_ARCHIVE = "trimesh/resources/templates/viewer.zip"
_PAGE = "viewer.html.template"
_START, _REST = "<script>", "\n(function(){"
"""The page's first script begins with three.js; what follows it, each in a function of its own, are loaders."""


@lru_cache(maxsize=1)
def three_module() -> bytes | None:
    """The library as an ES module with one default export; None where the installed package carries none.

    The library is in UMD form, which looks for ``exports`` and ``module``. Given both, it makes no global.
    """
    try:
        with zipfile.ZipFile(str(distribution("trimesh").locate_file(_ARCHIVE))) as archive:
            page = archive.read(_PAGE).decode("utf-8")
    except (PackageNotFoundError, OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError):
        return None
    script = page.partition(_START)[2].partition("</script>")[0].partition(_REST)[0].strip()
    if "Three.js Authors" not in script[:300]:
        return None
    return f"const exports = {{}}, module = {{ exports }};\n{script}\nexport default module.exports;\n".encode()
