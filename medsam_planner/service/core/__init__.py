"""The service without HTTP and without a page: studies, sessions, leases, journals, jobs, and the workers that compute.

Locks, and their one order; whoever holds one may only acquire those below it:

1. ``Work.changing()``, one per session: held over check → journal → apply, never over a computation.
2. ``DataFolder``, ``Leases``, ``Jobs``, ``LoadedWorks``, ``StudyStore``, ``Workers``: each guards its own dictionaries,
   without any input or output. Never two of them at once.
3. ``Audit``, ``Rights`` and ``Logins``: held over one line of the log, or one write of ``rights.json`` or
   ``logins.json``.
4. ``Worker``, held over the start of its process, and then that of the process: held over one message to it.

``LoadedWorks`` has one more, held while a study or result is read from its files, and under it only its own of the
second kind.

A journal has no lock: it is written inside ``Work.changing()`` only. Nothing here runs on an event loop, apart from
looking a job up and the leases, which wait for nothing; a door calls it from threads. What is read without a lock is
replaced as a whole and never edited. Worker processes take no lock: they get plain values, and give plain values and
files.
"""
