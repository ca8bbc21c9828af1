"""How the bundled model was made: traces, tokenizer, base, and the curriculum of its stages. Not in the wheel."""
