"""Networks, training and evaluation; reads an export folder, never the store."""
