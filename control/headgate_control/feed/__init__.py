"""The feed: what enforcement points in other processes must know, told the moment it changes, and what they answer."""
