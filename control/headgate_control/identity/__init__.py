"""Identity: agent instances, who launched them and for what, and the keys by which gateways know them."""
