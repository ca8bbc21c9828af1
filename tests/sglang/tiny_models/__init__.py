"""The models that tests serve, named by SGLANG_EXTERNAL_MODEL_PACKAGE: importing all of SGLang's takes minutes."""
