"""The shop as `--app tests.dead_letters.shop_app:app` finds it, over the folder that the environment names."""

import os
from pathlib import Path

from tests.dead_letters import shop

app = shop.build(Path(os.environ["SHOP_FOLDER"]))
