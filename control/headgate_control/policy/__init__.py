"""Policy: Cedar, with a schema, default deny, and only the policies looked at that can matter to a request."""
