package version

// get returns what is known of a reference.
func (l *Ledger) get(key Key) entry {
	e := l.recall(key)
	if l.isEarlier(key, e) {
		return entry{}
	}
	return e
}

// recall returns what is in memory or on disk.
func (l *Ledger) recall(key Key) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries.Get(key); ok {
		return e
	}
	e, ok := l.unsaved[key]
	if !ok {
		value, answered := l.cfg.State.Versioned(key.String())
		if e = decode(value); !answered {
			return e
		}
	}
	l.entries.Add(key, e)
	return e
}

// isEarlier reports whether an entry is of an earlier project that had the repo's name: the
// version is older than the project that has it now, or was written down before that was made.
func (l *Ledger) isEarlier(key Key, e entry) bool {
	if !e.Known() || l.cfg.Since == nil {
		return false
	}
	since := l.cfg.Since(key.Repo)
	return e.Version.before(since) || e.At().Before(since)
}

// shownOf returns what clients were shown under a tag in the project that has the name now;
// l.mu is held.
func (l *Ledger) shownOf(key Key) shown {
	seen, _ := l.shown.Get(key)
	if l.cfg.Since != nil && seen.since.Before(l.cfg.Since(key.Repo)) {
		return shown{}
	}
	return seen
}
