"""JSONLogic: a rule in JSON is compiled to a function of data. The operators are a table, so that others can be added."""
