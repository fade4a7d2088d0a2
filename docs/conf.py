"""The site that ``nox -s docs`` builds of these pages, into docs/_build."""

from __future__ import annotations

import aioflags.runtime.lazy
from aioflags.runtime.version import __version__

# Autodoc reads the order and the comments of attributes in the module that a class names, which has to be the one with its source.
aioflags.runtime.lazy.publish = lambda *_: None

project = "aioflags"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"aioflags {version}"
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 4

autoclass_content = "class"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
