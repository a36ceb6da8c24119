"""The query service: views, queries and commands over HTTP, and the dashboard, as an ASGI application."""

from syncline.http_config import HttpConfig, Limits
from syncline.serve.caller import Caller
from syncline.serve.http import asgi

__all__ = ["Caller", "HttpConfig", "Limits", "asgi"]
