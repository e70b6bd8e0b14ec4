"""`headgate up`: a supervisor of few processes, each tied to its life, and the console's listener."""
