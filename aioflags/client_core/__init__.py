"""What every client is made of: the life cycle, the status, evaluation methods and the iterators over changes."""
