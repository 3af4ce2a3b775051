"""The service without HTTP and without a page: studies, sessions, leases, journals, jobs.

Locks, and their one order; whoever holds one may only acquire those below it:

1. ``Work.changing()``, one per session: held over check → journal → apply, never over a computation.
2. ``Service``, ``Leases``, ``Jobs``, ``LoadedWorks``, ``StudyStore``: each guards its own dictionaries, without any
   input or output. Never two of them at once.
3. ``Audit`` and ``Rights``: held over one line of the log, or one write of ``rights.json``.

``LoadedWorks`` has one more, held while a study is read from its files, and under it only its own of the second kind.

A journal has no lock: it is written inside ``Work.changing()`` only. Nothing here runs on an event loop, apart from
looking a job up and the leases, which wait for nothing; a door calls it from threads. What is read without a lock is
replaced as a whole and never edited.
"""
