"""Online optimum under stationary arrivals: a semi-Markov decision process, solved to bounds."""
