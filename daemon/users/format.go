package users

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	banner    = "# users of qpidd: change with 'qpid-cluster user'"
	mechanism = "SCRAM-SHA-256"

	maxFileBytes = 64 << 20
)

// table is what a file says.
type table struct {
	seed  []byte
	users map[string]keys
}

func newTable() (*table, error) {
	t := &table{seed: make([]byte, seedBytes), users: map[string]keys{}}
	_, err := rand.Read(t.seed)
	return t, err
}

// LineError says which line of a users file is wrong, and how.
type LineError struct {
	Path string
	Line int
	Text string
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s, line %d: %s; set the user's password again with "+
		"'qpid-cluster user passwd', or remove the line", e.Path, e.Line, e.Text)
}

// parse reads a file.
func parse(path string, data []byte) (*table, error) {
	t := &table{users: map[string]keys{}}
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := t.parseLine(strings.Split(line, ":")); err != nil {
			return nil, &LineError{Path: path, Line: n + 1, Text: err.Error()}
		}
	}
	if t.seed == nil { // a file written by hand; stable as long as it is not changed
		sum := sha256.Sum256(data)
		t.seed = sum[:seedBytes]
	}
	return t, nil
}

func (t *table) parseLine(fields []string) error {
	switch {
	case fields[0] == "seed" && len(fields) == 2:
		seed, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil || len(seed) == 0 {
			return fmt.Errorf("the seed is not base64")
		}
		t.seed = seed
		return nil
	case fields[0] == "user" && len(fields) == 7:
		return t.parseUser(fields[1], fields[2], fields[3:])
	}
	return fmt.Errorf("a line is user:NAME:%s:ITERATIONS:SALT:STOREDKEY:SERVERKEY", mechanism)
}

func (t *table) parseUser(name, how string, fields []string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, ok := t.users[name]; ok {
		return fmt.Errorf("user %q is there twice", name)
	}
	if how != mechanism {
		return fmt.Errorf("user %q has %.20q keys, and only %s is known", name, how, mechanism)
	}
	count, err := strconv.Atoi(fields[0])
	if err != nil || count < minIterations || count > maxIterations {
		return fmt.Errorf("user %q has %.20q iterations, %d to %d are taken",
			name, fields[0], minIterations, maxIterations)
	}
	k := keys{iterations: count}
	for i, to := range []*[]byte{&k.salt, &k.stored, &k.server} {
		*to, err = base64.StdEncoding.DecodeString(fields[1+i])
		if err != nil || len(*to) == 0 || i > 0 && len(*to) != sha256.Size {
			return fmt.Errorf("user %q has a damaged key", name)
		}
	}
	t.users[name] = k
	return nil
}

// format writes what parse reads, the users in the order of their names.
func (t *table) format() []byte {
	var b bytes.Buffer
	encode := base64.StdEncoding.EncodeToString
	fmt.Fprintf(&b, "%s\nseed:%s\n", banner, encode(t.seed))
	for _, name := range slices.Sorted(maps.Keys(t.users)) {
		k := t.users[name]
		fmt.Fprintf(&b, "user:%s:%s:%d:%s:%s:%s\n",
			name, mechanism, k.iterations, encode(k.salt), encode(k.stored), encode(k.server))
	}
	return b.Bytes()
}
