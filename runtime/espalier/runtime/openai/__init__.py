"""Any server of OpenAI's chat completions as an engine: vLLM, SGLang, llama.cpp, Ollama, hosted ones."""
