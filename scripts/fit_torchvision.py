"""Lets `import torchvision` work beside a CPU torch; setup_env.sh runs it in the environment it makes.

The package index may have torchvision only as built for CUDA. Beside a CPU torch its compiled operators do not
load, and importing it then fails on their missing names. ComfyUI and transformers import torchvision but call
none of these operators on our paths, so it is enough that torch knows the names.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ADDITION = """

# Added by scripts/fit_torchvision.py of DAWN for ComfyUI.
if not _has_ops():
    _operator_names = torch.library.Library("torchvision", "DEF")
    for _name in {names}:
        _operator_names.define(_name + "(Tensor x) -> Tensor")
"""


def main() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    source = (folder / "_meta_registrations.py").read_text(encoding="utf-8")
    names = re.findall(r'(?:register_fake\("torchvision::|register_meta\(")(\w+)"', source)
    with (folder / "extension.py").open("a", encoding="utf-8") as extension:
        extension.write(ADDITION.format(names=sorted(set(names))))


if __name__ == "__main__":
    main()
