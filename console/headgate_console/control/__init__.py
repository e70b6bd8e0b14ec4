"""Control as a process of `headgate up`, and how commands reach it."""
