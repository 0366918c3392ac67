package logging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// journalSocket is where systemd-journald takes records in its native protocol: a datagram
// of NAME=value lines, or NAME, a line feed, a 64-bit length and the value.
const journalSocket = "/run/systemd/journal/socket"

type journal struct {
	conn *net.UnixConn
	buf  bytes.Buffer
}

// standard is where the log goes if nothing is said: to stderr, and where that leads to the
// system's journal anyway, straight there, with each record's fields apart.
func standard() string {
	var s unix.Stat_t
	if unix.Fstat(int(os.Stderr.Fd()), &s) != nil || os.Getenv("JOURNAL_STREAM") != fmt.Sprintf("%d:%d", s.Dev, s.Ino) {
		return "stderr"
	}
	if unix.Access(journalSocket, unix.W_OK) != nil {
		return "stderr"
	}
	return "journald"
}

func openJournal() (*journal, error) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the system's journal: %w; is systemd-journald running? Use --log-output=stderr otherwise", err)
	}
	return &journal{conn: c}, nil
}

// Write exists so that a journal can stand among the outputs; records go through send.
func (j *journal) Write(b []byte) (int, error) { return len(b), nil }

func (j *journal) send(priority int, category string, r *slog.Record, attrs []slog.Attr) error {
	j.buf.Reset()
	j.field("MESSAGE", r.Message)
	j.field("PRIORITY", fmt.Sprint(priority))
	j.field("SYSLOG_IDENTIFIER", "qpidd")
	j.field("SYSLOG_PID", fmt.Sprint(os.Getpid()))
	j.field("QPID_CATEGORY", category)
	each := func(a slog.Attr) bool {
		j.field("QPID_"+journalName(a.Key), a.Value.String())
		return true
	}
	for _, a := range attrs {
		each(a)
	}
	r.Attrs(each)
	_, err := j.conn.Write(j.buf.Bytes())
	return err
}

// journalName is what a field may be called: upper case letters, digits and underscores.
func journalName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(s))
}

func (j *journal) field(name, value string) {
	j.buf.WriteString(name)
	if !strings.Contains(value, "\n") {
		j.buf.WriteString("=" + value + "\n")
		return
	}
	j.buf.WriteByte('\n')
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(value)))
	j.buf.Write(n[:])
	j.buf.WriteString(value + "\n")
}
