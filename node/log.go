package node

import (
	"context"
	"log/slog"
)

// A connectionLog adds a connection's number to what is logged about it. Unlike a
// handler with attributes it costs a connection that logs nothing next to nothing.
type connectionLog struct {
	slog.Handler
	number uint64
}

// Handle implements slog.Handler.
func (l *connectionLog) Handle(ctx context.Context, r slog.Record) error {
	numbered := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	numbered.AddAttrs(slog.Uint64("connection", l.number))
	r.Attrs(func(a slog.Attr) bool { numbered.AddAttrs(a); return true })
	return l.Handler.Handle(ctx, numbered)
}

// WithAttrs implements slog.Handler.
func (l *connectionLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &connectionLog{l.Handler.WithAttrs(attrs), l.number}
}

// WithGroup implements slog.Handler.
func (l *connectionLog) WithGroup(name string) slog.Handler {
	return l.Handler.WithAttrs([]slog.Attr{slog.Uint64("connection", l.number)}).WithGroup(name)
}
