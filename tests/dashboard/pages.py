"""What tests of the pages share: the pages, how to open one, and what it shows."""

import shutil
from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
OpenPage = Callable[..., AppTest]
PAGES = ("findings", "scaling", "compare", "runs", "policy", "read", "arena", "score", "data")


def texts(app: AppTest) -> str:
    elements = (*app.title, *app.markdown, *app.caption, *app.warning, *app.info, *app.code, *app.subheader)
    shown = [str(element.value) for element in elements] + [str(box.proto.body) for box in app.get("html")]
    return "\n".join(shown).replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")


def charts_on(app: AppTest) -> int:
    return len(app.get("arrow_vega_lite_chart")) + len(app.get("vega_lite_chart"))


def copy_of(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))
