"""The query service: views, queries and commands over HTTP, and the dashboard, as an ASGI application."""

from syncline.http_config import HttpConfig, Limits
from syncline.serve.caller import Caller
from syncline.serve.door import Door
from syncline.serve.http import asgi
from syncline.serve.static_files import PageFiles

__all__ = ["Caller", "Door", "HttpConfig", "Limits", "PageFiles", "asgi"]
