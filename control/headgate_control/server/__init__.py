"""Control over HTTP: AuthZEN, a status-coded check for proxies, and the hook of Claude Code."""
