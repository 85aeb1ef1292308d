package mailbox

// LookAgain does what Run does within a minute.
func (m *Mailboxes) LookAgain() {
	for i := range m.shards {
		m.lookAgain(&m.shards[i])
	}
}

// Held returns how many bytes are in memory for readers.
func (m *Mailboxes) Held() int64 { return m.recent.Load() }
