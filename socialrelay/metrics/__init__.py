"""
What monitoring reads: the counters of all parts, in the format of Prometheus.

Nothing is measured for the sake of this package but what its owners count anyway; that is read when somebody asks.  Labels are closed sets:
states, outcomes, reasons that stand in the code.  Never a host, a handle or anything else that strangers choose.
"""
