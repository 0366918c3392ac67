package conf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Error is a mistake in a file.
type Error struct {
	File string
	Line int // 0: the file as a whole
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Notice is something accepted that the person who wrote it should know of.
type Notice struct {
	File string
	Line int
	Text string
}

func (n Notice) String() string { return (*Error)(&Error{n.File, n.Line, n.Text}).Error() }

// Limits of a file. Lines and paths are corosync's.
const (
	maxLineBytes = 510
	maxPathBytes = 254
)

// taker takes what a file consists of, line by line. Paths are dotted: totem.interface.ttl.
type taker interface {
	begin(line int, path string) error
	item(line int, section, key, value string) error
	end(line int, path string) error
	// known tells whether a path is that of a section or, if item is set, of a directive.
	known(path string, item bool) bool
}

// section is one that is open.
type section struct {
	name, path   string
	line, indent int
}

// reader takes a file apart.
type reader struct {
	file string
	line int
	open []section
	take taker

	last    section // at the top, closed last
	closed  int     // in which line
	suspect doubt
}

// doubt is the first sign that a section should have been closed earlier.
type doubt struct {
	section section
	why     string
}

// read gives a file to a taker, line by line.
func read(file string, data []byte, t taker) error {
	r := &reader{file: file, take: t}
	data, _ = bytes.CutPrefix(data, []byte("\ufeff")) // some editors write one
	for len(data) > 0 {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		r.line++
		if err := r.text(string(bytes.TrimSuffix(line, []byte("\r")))); err != nil {
			return r.locate(err)
		}
	}
	if len(r.open) > 0 {
		return r.unclosed("the file ends inside it")
	}
	return nil
}

// locate adds file and line to an error that has none.
func (r *reader) locate(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{r.file, r.line, err.Error()}
}

// trim removes white space. Examples copied from web pages have non-breaking spaces.
func trim(s string) string { return strings.Trim(s, " \t\u00a0") }

func (r *reader) text(line string) error {
	if len(line) > maxLineBytes {
		return fmt.Errorf("the line has %d bytes, %d are the most: shorten it", len(line), maxLineBytes)
	}
	text := trim(line)
	if text == "" || text[0] == '#' {
		return nil
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return errors.New("the line has a NUL byte: this is no text file")
	}
	indent := indentation(line)
	if name, rest, ok := strings.Cut(text, "{"); ok {
		return r.begin(strings.TrimRight(name, " \t\u00a0:"), trim(rest), indent)
	}
	if key, value, ok := strings.Cut(text, ":"); ok {
		return r.item(trim(key), trim(value))
	}
	if strings.Contains(text, "}") {
		return r.end(text, indent)
	}
	if r.take.known(join(r.path(), text), false) {
		return fmt.Errorf("section %q begins without {: put one behind its name, on the same line", text)
	}
	return fmt.Errorf("%q is neither a directive (name: value) nor the begin or the end of a section: write it so, or put # in front of it", shorten(text))
}

// indentation is where a line's text begins, a tab reaching to the next multiple of eight.
func indentation(line string) (column int) {
	for _, c := range line {
		switch c {
		case '\t':
			column += 8 - column%8
		case ' ', '\u00a0':
			column++
		default:
			return column
		}
	}
	return column
}

const maxShown = 40

func shorten(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "…"
	}
	return s
}

func (r *reader) path() string {
	if len(r.open) == 0 {
		return ""
	}
	return r.open[len(r.open)-1].path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (r *reader) begin(name, rest string, indent int) error {
	path := join(r.path(), name)
	switch {
	case name == "":
		return errors.New("{ without the name of a section in front of it: put the name and { on one line")
	case rest != "":
		return fmt.Errorf("%q follows the { of section %q: put it on a line of its own", shorten(rest), name)
	case len(path) > maxPathBytes:
		return fmt.Errorf("section %q is nested too deep", shorten(name))
	}
	if err := r.misplaced(name, path); err != nil {
		return err
	}
	if err := r.take.begin(r.line, path); err != nil {
		return err
	}
	r.open = append(r.open, section{name, path, r.line, indent})
	return nil
}

// misplaced finds a section that cannot be where it is: somewhere above it a brace is missing,
// or there is one too many.
func (r *reader) misplaced(name, path string) error {
	if r.take.known(path, false) {
		return nil
	}
	for i := len(r.open) - 1; i >= 0; i-- {
		above := ""
		if i > 0 {
			above = r.open[i-1].path
		}
		if r.take.known(join(above, name), false) {
			return r.unclosed(fmt.Sprintf("section %q begins inside it, in line %d", name, r.line))
		}
	}
	return nil
}

func (r *reader) item(key, value string) error {
	path := join(r.path(), key)
	switch {
	case key == "":
		return errors.New("there is no name in front of the colon: write name: value")
	case len(path) > maxPathBytes:
		return fmt.Errorf("the name %q is too long", shorten(key))
	case strings.HasSuffix(value, "}"):
		return fmt.Errorf("} follows a value: put it on a line of its own")
	}
	r.doubtItem(key, path)
	return r.take.item(r.line, r.path(), key, value)
}

// doubtItem notes a directive that belongs to a section further out.
func (r *reader) doubtItem(key, path string) {
	if r.suspect.why != "" || len(r.open) < 2 || r.take.known(path, true) {
		return
	}
	for i := len(r.open) - 2; i >= 0; i-- {
		if r.take.known(join(r.open[i].path, key), true) {
			r.suspect = doubt{r.open[len(r.open)-1], fmt.Sprintf("%s in line %d belongs to %s", key, r.line, r.open[i].path)}
			return
		}
	}
}

func (r *reader) end(text string, indent int) error {
	switch {
	case text != "}":
		return fmt.Errorf("%q: put } on a line of its own", shorten(text))
	case len(r.open) == 0 && r.last.line != 0:
		return fmt.Errorf("} closes nothing: section %q of line %d was closed in line %d already; remove one of the two", r.last.name, r.last.line, r.closed)
	case len(r.open) == 0:
		return errors.New("} closes nothing: no section was begun; remove it")
	}
	s := r.open[len(r.open)-1]
	r.open = r.open[:len(r.open)-1]
	r.doubtIndent(s, indent)
	if len(r.open) == 0 {
		r.last, r.closed = s, r.line
	}
	return r.take.end(r.line, s.path)
}

// doubtIndent notes a brace that closes one section, but stands below the begin of one further
// out.
func (r *reader) doubtIndent(s section, indent int) {
	if r.suspect.why != "" || s.indent == indent {
		return
	}
	for i := len(r.open) - 1; i >= 0; i-- {
		if r.open[i].indent == indent {
			r.suspect = doubt{s, fmt.Sprintf("the } of line %d stands where that of %q would", r.line, r.open[i].name)}
			return
		}
	}
}

// unclosed says which section lacks its brace, at the line in which that began.
func (r *reader) unclosed(sign string) error {
	s := r.open[len(r.open)-1]
	if r.suspect.why != "" {
		s, sign = r.suspect.section, r.suspect.why
	}
	return &Error{r.file, s.line, fmt.Sprintf("section %q, which begins here, is not closed: %s; add the missing }", s.name, sign)}
}
