"""The link of a gateway to a control in another process: what it must know, what it has done, what it may spend."""
