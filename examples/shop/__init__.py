"""An order placed across three services: orders, inventory, payments; and the pages that join what they know of it."""
