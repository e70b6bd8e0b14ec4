"""What is added to a row on its way to the store: identity, actions, hashes, prices; and what is taken out.

`redact` takes out secrets and personal data, `hashing` makes keyed hashes, `identity` says who, `actions`
says what a tool call did, `price` says what a model call cost. Rules are data: `rules/*.yaml`, and a site's
own files over them.
"""
