package relay

// notLoaded stands for the offset of a target that has not loaded a snapshot yet.
const notLoaded = -1

// Acknowledge says what the target has applied, as asked of the target itself
// and in its own count; the source hears it at once.
func (l *Link) Acknowledge(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked.Load() != notLoaded {
		l.advance(offset)
	}
}

// acknowledge is Acknowledge by the target's own connection, whose first ACK
// says that the snapshot is loaded.
func (l *Link) acknowledge(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(offset)
}

// advance moves acked on. An offset beyond what was read is of another stream:
// it was asked for before this one began. l.mu must be held.
func (l *Link) advance(offset int64) {
	if offset <= l.acked.Load() || offset > l.offsets.toTarget(l.end.Load()) {
		return
	}
	l.acked.Store(offset)
	l.offsets.passed(offset)
	if at := l.streamAt.Load(); at >= 0 {
		l.spool.Release(offset - l.start.Load() + at + 1)
	}
	l.signalAck()
	if h := l.hold.Load(); h != nil {
		h.wake()
	}
}

// signalAck has an ACK sent now.
func (l *Link) signalAck() {
	select {
	case l.ackSignal <- struct{}{}:
	default:
	}
}
