"""How the parts are joined for one stack, and what people can ask of it: check, explain, coverage, schema, API keys."""
