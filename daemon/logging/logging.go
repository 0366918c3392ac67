package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// Levels, as qpidd names them.
const (
	Trace    = slog.LevelDebug - 4
	Debug    = slog.LevelDebug
	Info     = slog.LevelInfo
	Notice   = slog.LevelInfo + 2
	Warning  = slog.LevelWarn
	Error    = slog.LevelError
	Critical = slog.LevelError + 4
)

type level struct {
	name     string
	level    slog.Level
	priority int // of syslog and the journal
}

var levels = []level{
	{"trace", Trace, 7}, {"debug", Debug, 7}, {"info", Info, 6}, {"notice", Notice, 5},
	{"warning", Warning, 4}, {"error", Error, 3}, {"critical", Critical, 2},
}

// Categories, as qpidd names them.
var categories = []string{"Security", "Broker", "Management", "Protocol", "System", "HA",
	"Messaging", "Store", "Network", "Test", "Client", "Application", "Model", "Cluster", "Unspecified"}

// Log is where the log goes, and what of it.
type Log struct {
	mu    sync.Mutex
	out   []io.Writer
	files []io.Closer // and the connection with the journal
	opts  config.Log
	rules atomic.Pointer[rules]
	now   func() time.Time
	buf   []byte
}

// Open opens the log's outputs. Several brokers may share a file: it is appended to, a line
// at a time.
func Open(o config.Log) (*Log, error) {
	l := &Log{opts: o, now: time.Now}
	r, err := parseRules(o)
	if err != nil {
		return nil, err
	}
	l.rules.Store(&r)
	outputs := slices.Clone(o.Outputs)
	for name, on := range map[string]bool{"stderr": bool(o.ToStderr), "stdout": bool(o.ToStdout), "journald": bool(o.ToJournal)} {
		if on {
			outputs = append(outputs, name)
		}
	}
	if o.ToFile != "" {
		outputs = append(outputs, o.ToFile)
	}
	if len(outputs) == 0 {
		outputs = []string{standard()}
	}
	for _, name := range outputs {
		if err := l.add(name); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

func (l *Log) add(name string) error {
	switch name {
	case "stderr":
		l.out = append(l.out, os.Stderr)
	case "stdout":
		l.out = append(l.out, os.Stdout)
	case "journald":
		j, err := openJournal()
		if err != nil {
			return err
		}
		l.files = append(l.files, j.conn)
		l.out = append(l.out, j)
	default:
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("cannot open log file: %w; name another with --log-output", err)
		}
		l.files = append(l.files, f)
		if err := room(f); err != nil {
			return fmt.Errorf("cannot write to log file %s: %w; make room, or name another with --log-output", name, err)
		}
		l.out = append(l.out, f)
	}
	return nil
}

// leastRoom is what a broker has to say when it starts, and more.
const leastRoom = 4 << 10

// room has the file system keep some for a file. One that cannot is not asked.
func room(f *os.File) error {
	i, err := f.Stat()
	if err != nil || !i.Mode().IsRegular() {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, i.Size(), leastRoom)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return err
	}
	return nil
}

// Close closes the files.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeFiles()
}

func (l *Log) closeFiles() {
	for _, f := range l.files {
		f.Close()
	}
	l.files = nil
}

// Reopen follows other options, and opens files anew that were renamed to begin others. If that
// fails, all stays as it was.
func (l *Log) Reopen(o config.Log) error {
	fresh, err := Open(o)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeFiles()
	l.out, l.files, l.opts = fresh.out, fresh.files, fresh.opts
	l.rules.Store(fresh.rules.Load())
	return nil
}

// For returns a logger of one category.
func (l *Log) For(category string) *slog.Logger {
	if !slices.Contains(categories, category) {
		panic("logging: unknown category " + category)
	}
	return slog.New(&handler{log: l, category: category})
}

type handler struct {
	log      *Log
	category string
	attrs    []slog.Attr
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return h.log.rules.Load().enabled(level, h.category)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(slices.Clone(h.attrs), attrs...)
	return &c
}

func (h *handler) WithGroup(string) slog.Handler { return h }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	l := h.log
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.line(h, &r)
	var failed error
	for _, w := range l.out {
		var err error
		if j, ok := w.(*journal); ok {
			err = j.send(levelOf(r.Level).priority, h.category, &r, h.attrs)
		} else {
			_, err = w.Write(b)
		}
		if err != nil {
			failed = err
		}
	}
	if failed != nil && !l.opts.OnStderr() {
		_, _ = os.Stderr.Write(b) // the last place there is: of a service it is the journal
	}
	return failed
}

// line renders a record: 2026-01-31 12:00:00 [Broker] notice text name=value
func (l *Log) line(h *handler, r *slog.Record) []byte {
	b := l.buf[:0]
	if l.opts.Prefix != "" {
		b = append(append(b, l.opts.Prefix...), ' ')
	}
	if l.opts.Time {
		format := "2006-01-02 15:04:05 "
		if l.opts.HiRes {
			format = "2006-01-02 15:04:05.000000000 "
		}
		b = l.now().AppendFormat(b, format)
	}
	if l.opts.Category {
		b = append(append(append(b, '['), h.category...), "] "...)
	}
	if l.opts.Level {
		b = append(append(b, levelOf(r.Level).name...), ' ')
	}
	b = append(b, clean(r.Message)...)
	attr := func(a slog.Attr) bool {
		b = append(append(append(append(b, ' '), a.Key...), '='), clean(a.Value.String())...)
		return true
	}
	for _, a := range h.attrs {
		attr(a)
	}
	r.Attrs(attr)
	b = append(b, '\n')
	l.buf = b
	return b
}

// clean keeps a client's text from faking lines.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// levelOf is the highest of our levels that is not above a record's.
func levelOf(record slog.Level) level {
	found := levels[0]
	for _, l := range levels {
		if record >= l.level {
			found = l
		}
	}
	return found
}
