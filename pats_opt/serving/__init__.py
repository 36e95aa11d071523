"""The HTTP server in front of the live executor: requests come from a network, not an instance.

A thread runs the policy as the simulator does (:mod:`pats_opt.serving.scheduler`), on workers that
are restarted when they die; the event loop of the server speaks HTTP and nothing else.
"""
