"""The grammar of answers in parts: cursor, quantities, arithmetic, groups, functions. The parser joins them."""
