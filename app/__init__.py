"""The review app: pages in the browser, HTTP routes for its panes, and who one is."""
