"""Native parallel reasoning on an unmodified SGLang: a plugin for its servers, and a client."""
