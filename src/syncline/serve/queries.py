"""Named queries over HTTP."""

ROUTES = ()
