LocalSearch = None
