"""Origin: where the dfx that runs was installed from, so that its advice names that and no stranger's package: on the
package registry, "dfx" is somebody else's."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install(*extras: str) -> str:
    """The command that adds extras to this dfx: `pip install "SOURCE[EXTRA]"`."""
    return f'pip install {_source()}[{",".join(extras)}]"'


@cache
def _source() -> str:
    """What pip is to be given, with a quotation mark before it: the checkout or the wheel that dfx came from (PEP 610);
    else its name, by which pip finds the one that is installed."""
    try:
        noted = json.loads(distribution("dfx").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        noted = {}
    url = urlsplit(noted.get("url", ""))
    path = Path(url2pathname(url.path))
    if url.scheme != "file" or not path.exists():
        return '"dfx'
    return f'{"-e " * bool(noted.get("dir_info", {}).get("editable"))}"{path}'
