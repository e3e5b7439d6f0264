"""Imported first by a script that a user starts: until its work begins, Ctrl-C ends it quietly.

Importing NumPy takes a tenth of a second, in which Ctrl-C would print a traceback. `exit_code` has
interrupts raise `KeyboardInterrupt` while the work is done.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody else's, nor ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)
