"""Imported first by a script that a user starts: until its work begins, Ctrl-C ends it quietly.

Importing NumPy takes a tenth of a second, in which Ctrl-C would print a traceback. `exit_code` has
interrupts raise `KeyboardInterrupt` while the work is done.
"""

# What `signal` is made of is there at once; `signal` itself takes ten milliseconds to import.
_signal = __import__("_signal")

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # nobody else's, nor ignored
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
