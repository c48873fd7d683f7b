"""The service: the only place where protocol, storage, records, locks and hooks meet."""
